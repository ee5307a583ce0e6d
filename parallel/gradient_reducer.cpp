#include "parallel/gradient_reducer.h"

#include <chrono>

#include "parallel/collective_log.h"

namespace braid {
namespace {

class AddElapsed {
  public:
    explicit AddElapsed(double& seconds) : seconds_(seconds) {}
    ~AddElapsed() {
        seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }

  private:
    double& seconds_;
    const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

} // namespace

void GradientReducer::start(int unit) {
    const AddElapsed timer(exposed_seconds_);
    const CollectiveLabel label(mesh_.world().log(), "gradients of", store_.unit(unit).name);
    const ParameterStore::Unit& buffers = store_.unit(unit);
    for (const Bucket& bucket : buffers.buckets) {
        Communicator& comm = mesh_.group(bucket.group);
        if (comm.size() == 1) continue;
        const Tensor gradients = buffers.gradients.rows(bucket.first, bucket.numel);
        if (options_.reduction == Reduction::library)
            under_way_in_library_[unit].push_back(
                comm.all_reduce_any_order(gradients.raw_data(), gradients.numel(), gradients.dtype()));
        else
            under_way_[unit].emplace_back(comm, allocator_, gradients,
                                          options_.own_share ? OrderedAllReduce::Result::own_share
                                                             : OrderedAllReduce::Result::everywhere);
    }
}

void GradientReducer::add(int unit) {
    const AddElapsed timer(exposed_seconds_);
    const CollectiveLabel label(mesh_.world().log(), "gradients of", store_.unit(unit).name);
    const auto found = under_way_.find(unit);
    if (found == under_way_.end()) return;
    for (OrderedAllReduce& reduce : found->second) reduce.add_pieces();
}

void GradientReducer::finish(int unit) {
    const AddElapsed timer(exposed_seconds_);
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
    return std::exchange(exposed_seconds_, 0);
}

void gather_parameters(const Mesh& mesh, ParameterStore& store) {
    std::vector<std::unique_ptr<Pending>> pending;
    for (const auto& unit : store.units())
        for (const Bucket& bucket : unit->buckets) {
            Communicator& comm = mesh.group(bucket.group);
            if (comm.size() == 1) continue;
            const Tensor values = unit->values.rows(bucket.first, bucket.numel);
            const EvenSplit split{bucket.numel, comm.size()};
            const auto element = static_cast<int64_t>(size_of(values.dtype()));
            std::vector<int64_t> bytes;
            for (int r = 0; r < comm.size(); ++r) bytes.push_back(split.length(r) * element);
            auto* first = static_cast<std::byte*>(values.raw_data());
            pending.push_back(comm.all_gather(first + split.first(comm.rank()) * element, first, bytes));
        }
    for (const auto& gather : pending) gather->wait();
}

} // namespace braid
