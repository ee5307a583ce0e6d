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

/// Segments [first, last) that one unit's parameters serve.
struct UnitSegments {
    int unit = 0, first = 0, last = 0;
};

std::vector<UnitSegments> by_unit(std::span<const int> segment_units) {
    std::vector<UnitSegments> result;
    for (int i = 0; i < static_cast<int>(segment_units.size()); ++i) {
        const int unit = segment_units[static_cast<size_t>(i)];
        check(result.empty() || result.back().unit <= unit, "the units of segments are out of order");
        if (result.empty() || result.back().unit != unit) result.push_back({unit, i, i});
        ++result.back().last;
    }
    return result;
}

} // namespace

std::vector<Action> make_schedule(int num_micro_batches, std::span<const int> segment_units,
                                  const Sharing& sharing) {
    check(sharing.reduce || !sharing.gather, "values can be handed out only where gradients are summed");
    const auto num_segments = static_cast<int>(segment_units.size());
    const std::vector<UnitSegments> units = by_unit(segment_units);
    using Kind = Action::Kind;
    std::vector<Action> actions;
    const auto run = [&](Kind kind, int micro_batch, int first, int last) {
        actions.push_back({.kind = kind, .micro_batch = micro_batch, .first = first, .last = last});
    };
    const auto border = [&](Kind kind, int micro_batch) {
        actions.push_back({.kind = kind, .micro_batch = micro_batch});
    };
    if (sharing.gather) {
        if (num_micro_batches > 0) border(Kind::begin, 0);
        for (const UnitSegments& u : units) {
            actions.push_back({.kind = Kind::all_gather_finish, .unit = u.unit});
            if (num_micro_batches > 0) run(Kind::forward, 0, u.first, u.last);
        }
    }
    const int last = num_micro_batches - 1;
    for (int m = 0; m < num_micro_batches; ++m) {
        if (m > 0 || !sharing.gather) {
            border(Kind::begin, m);
            run(Kind::forward, m, 0, num_segments);
        }
        if (sharing.reduce && m == last) break; // whose backward runs unit by unit
        run(Kind::backward, m, 0, num_segments);
        border(Kind::end, m);
    }
    if (!sharing.reduce) return actions;
    ReductionPipeline reductions(actions);
    for (auto u = units.rbegin(); u != units.rend(); ++u) {
        if (num_micro_batches > 0) run(Kind::backward, last, u->first, u->last);
        reductions.unit_complete(u->unit);
    }
    if (num_micro_batches > 0) border(Kind::end, last);
    reductions.drain();
    return actions;
}

std::vector<Action> make_update_schedule(int num_units, const Sharing& sharing) {
    std::vector<Action> actions;
    for (int unit = 0; unit < num_units; ++unit) {
        actions.push_back({.kind = Action::Kind::update, .unit = unit});
        if (sharing.gather) actions.push_back({.kind = Action::Kind::all_gather_start, .unit = unit});
    }
    return actions;
}

} // namespace braid
