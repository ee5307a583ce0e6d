#include "parallel/schedule.h"

#include "base/error.h"

namespace braid {
namespace {

/// Puts the reductions into the list so that each has the time of one more unit's backward to travel in each
/// direction.
class ReductionPipeline {
  public:
    explicit ReductionPipeline(std::vector<Action>& actions) : actions_(actions) {}

    void unit_complete(int unit) {
        actions_.push_back({.kind = Action::Kind::reduce_start, .unit = unit});
        advance(unit);
    }
    void drain() {
        advance(kNone);
        advance(kNone);
    }

  private:
    static constexpr int kNone = -1;

    void advance(int started) {
        if (started_ != kNone) actions_.push_back({.kind = Action::Kind::reduce_add, .unit = started_});
        if (added_ != kNone) actions_.push_back({.kind = Action::Kind::reduce_finish, .unit = added_});
        added_ = started_;
        started_ = started;
    }

    std::vector<Action>& actions_;
    int started_ = kNone, added_ = kNone;
};

} // namespace

std::vector<Action> make_schedule(int num_micro_batches, std::span<const int> segment_units, bool reduce) {
    const auto num_segments = static_cast<int>(segment_units.size());
    std::vector<Action> actions;
    ReductionPipeline reductions(actions);
    for (int m = 0; m < num_micro_batches; ++m) {
        const bool final_micro_batch = m + 1 == num_micro_batches;
        actions.push_back(
            {.kind = Action::Kind::forward, .micro_batch = m, .first = 0, .last = num_segments});
        if (!reduce || !final_micro_batch)
            actions.push_back(
                {.kind = Action::Kind::backward, .micro_batch = m, .first = 0, .last = num_segments});
    }
    if (!reduce) return actions;
    for (int last = num_segments; last > 0;) {
        const int unit = segment_units[static_cast<size_t>(last) - 1];
        int first = last - 1;
        while (first > 0 && segment_units[static_cast<size_t>(first) - 1] == unit) --first;
        check(first == 0 || segment_units[static_cast<size_t>(first) - 1] < unit,
              "the units of segments are out of order");
        if (num_micro_batches > 0)
            actions.push_back({.kind = Action::Kind::backward,
                               .micro_batch = num_micro_batches - 1,
                               .first = first,
                               .last = last});
        reductions.unit_complete(unit);
        last = first;
    }
    reductions.drain();
    return actions;
}

} // namespace braid
