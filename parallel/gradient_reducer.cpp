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
    const CollectiveLabel label(comm_.log(), "gradients of", store_.unit(unit).name);
    const Tensor& gradients = store_.unit(unit).gradients;
    if (reduction_ == Reduction::library)
        under_way_in_library_[unit] =
            comm_.all_reduce_any_order(gradients.raw_data(), gradients.numel(), gradients.dtype());
    else
        under_way_.try_emplace(unit, comm_, allocator_, gradients);
}

void GradientReducer::add(int unit) {
    const AddElapsed timer(exposed_seconds_);
    const CollectiveLabel label(comm_.log(), "gradients of", store_.unit(unit).name);
    if (reduction_ == Reduction::ordered) under_way_.at(unit).add_pieces();
}

void GradientReducer::finish(int unit) {
    const AddElapsed timer(exposed_seconds_);
    if (reduction_ == Reduction::library) {
        under_way_in_library_.at(unit)->wait();
        under_way_in_library_.erase(unit);
        return;
    }
    under_way_.at(unit).finish();
    under_way_.erase(unit);
}

void GradientReducer::poll() {
    for (auto& [unit, reduce] : under_way_) reduce.poll();
    for (auto& [unit, pending] : under_way_in_library_) pending->poll();
}

double GradientReducer::take_exposed_seconds() {
    return std::exchange(exposed_seconds_, 0);
}

} // namespace braid
