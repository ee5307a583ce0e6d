#include "parallel/gradient_reducer.h"

#include "parallel/collective_log.h"

namespace braid {
void GradientReducer::start(int unit) {
    const ExposedTime::Span span(exposed_time_, allocator_.stream());
    const CollectiveLabel label(mesh_.world().log(), "gradients of", store_.unit(unit).name);
    const ParameterStore::Unit& buffers = store_.unit(unit);
    for (const Bucket& bucket : buffers.buckets) {
        Communicator& comm = mesh_.group(bucket.group);
        if (comm.size() == 1) continue;
        const Tensor gradients = buffers.gradients.rows(bucket.first, bucket.numel);
        if (options_.reduction == Reduction::library)
            under_way_in_library_[unit].push_back(
                for_memory_of(comm, gradients)
                    .all_reduce_any_order(gradients.raw_data(), gradients.numel(), gradients.dtype()));
        else
            under_way_[unit].emplace_back(comm, allocator_, gradients,
                                          options_.own_share ? OrderedAllReduce::Result::own_share
                                                             : OrderedAllReduce::Result::everywhere);
    }
}

void GradientReducer::add(int unit) {
    const ExposedTime::Span span(exposed_time_, allocator_.stream());
    const CollectiveLabel label(mesh_.world().log(), "gradients of", store_.unit(unit).name);
    const auto found = under_way_.find(unit);
    if (found == under_way_.end()) return;
    for (OrderedAllReduce& reduce : found->second) reduce.add_parts();
}

void GradientReducer::finish(int unit) {
    const ExposedTime::Span span(exposed_time_, allocator_.stream());
    for (const auto& pending : under_way_in_library_[unit]) pending->wait();
    under_way_in_library_.erase(unit);
    for (OrderedAllReduce& reduce : under_way_[unit]) reduce.finish();
    under_way_.erase(unit);
}

void GradientReducer::poll() {
    for (auto& [unit, reduces] : under_way_)
        for (OrderedAllReduce& reduce : reduces) reduce.poll();
    for (auto& [unit, all] : under_way_in_library_)
        for (const auto& pending : all) pending->poll();
}

double GradientReducer::take_exposed_seconds() {
    return exposed_time_.take_seconds();
}

} // namespace braid
