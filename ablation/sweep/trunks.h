#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "ablation/sweep/planned_run.h"

namespace braid {

/// The first steps in which two runs of one seed compute the same numbers, as far as their configs decide it:
/// those before their learning rates or skipped batches part. 0 where anything else differs.
int64_t steps_in_common(const RunConfig& a, const RunConfig& b);

/// Lets runs that begin alike share their first steps, as decays from one stable run do: a trunk goes as far
/// as they agree and saves where they leave it, and they begin as its branches, which compute what they would
/// have alone, bit for bit. What is shared follows from the plan, not from which runs are named so far.
class Trunks {
  public:
    explicit Trunks(const SweepPlan& plan) : plan_(plan) {}

    /// Where one of a family (all runs of a seed, named already or not) leaves the trunk it shares.
    struct Place {
        std::optional<RunKey> owner; // the longest of those that share it; none: it shares nothing
        int64_t step = 0;
    };
    const Place& place(const std::vector<RunKey>& family, const RunKey& key);

  private:
    const RunConfig& config_of(const RunKey& key);
    std::map<RunKey, Place> places_of(const std::vector<RunKey>& family);
    void share_trunk(const std::vector<RunKey>& group, std::map<RunKey, Place>& places);

    const SweepPlan& plan_;
    std::map<RunKey, RunConfig> configs_;
    std::map<std::vector<RunKey>, std::map<RunKey, Place>> places_;
};

} // namespace braid
