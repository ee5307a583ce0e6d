#include "parallel/parameter_all_gather.h"

#include <utility>

#include "parallel/collective_log.h"
#include "parallel/collectives.h"

namespace braid {

void ParameterAllGather::start(int unit) {
    const ExposedTime::Span span(exposed_time_, store_.unit(unit).values.allocator().stream());
    const CollectiveLabel label(mesh_.world().log(), "parameters of", store_.unit(unit).name);
    auto& under_way = under_way_[unit];
    for (const Bucket& bucket : store_.unit(unit).buckets) {
        Communicator& comm = mesh_.group(bucket.group);
        if (comm.size() == 1) continue;
        const Tensor values = store_.unit(unit).values.rows(bucket.first, bucket.numel);
        const EvenSplit split{bucket.numel, comm.size()};
        const auto element = static_cast<int64_t>(size_of(values.dtype()));
        std::vector<int64_t> bytes;
        for (int r = 0; r < comm.size(); ++r) bytes.push_back(split.length(r) * element);
        auto* first = static_cast<std::byte*>(values.raw_data());
        under_way.push_back(
            for_memory_of(comm, values).all_gather(first + split.first(comm.rank()) * element, first, bytes));
    }
}

void ParameterAllGather::finish(int unit) {
    const auto found = under_way_.find(unit);
    if (found == under_way_.end()) return;
    const ExposedTime::Span span(exposed_time_, store_.unit(unit).values.allocator().stream());
    const CollectiveLabel label(mesh_.world().log(), "parameters of", store_.unit(unit).name);
    for (const auto& pending : found->second) pending->wait();
    under_way_.erase(found);
    store_.values_changed(unit);
}

void ParameterAllGather::poll() {
    for (auto& [unit, all] : under_way_)
        for (const auto& pending : all) pending->poll();
}

double ParameterAllGather::take_exposed_seconds() {
    return exposed_time_.take_seconds();
}

} // namespace braid
