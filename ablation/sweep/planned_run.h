#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ablation/plan/plan.h"

namespace braid {

enum class RunRole {
    tune,
    judge,
    trunk, // first steps that runs of the other kinds have in common
};
constexpr auto enum_names(RunRole) {
    return std::array<std::string_view, 3>{"tune", "judge", "trunk"};
}

/// What tells the numbers of a sweep's runs apart besides the seed.
struct RunKey {
    size_t variant = 0;          // of the plan
    std::optional<double> tuned; // the value of tune.key
    int64_t steps = 0;           // fewer than the variant's, its decay with them; 0: all
    auto operator<=>(const RunKey&) const = default;
};

struct PlannedRun {
    RunRole role = RunRole::judge;
    RunKey key; // of a trunk that of the longest run that leaves it
    uint64_t seed = 0;
    std::string id{};     // its folder below sweeps/NAME, as runs/placement-post_s1234
    std::string folder{}; // with sweeps/NAME
    int64_t stop_at = 0;  // of a trunk: the step at which it saves and others leave it
    std::string trunk{};  // the id of the one it leaves; empty: it begins at step 0
    RunKey trunk_key{};
    int64_t branch_step = 0; // where it does

    std::string trunk_folder() const { return folder.substr(0, folder.size() - id.size()) + trunk; }
    /// Tells all planned runs apart: a trunk is one for each of its stops.
    std::string name() const { return stop_at > 0 ? id + "@" + std::to_string(stop_at) : id; }
};

/// A run as text and back, for ranks that have not looked at the files.
std::string encode_run(const PlannedRun& run);
PlannedRun decode_run(const SweepPlan& plan, const std::string& folder, const std::string& text);

/// A run with its id and folder below `folder`.
PlannedRun make_run(const SweepPlan& plan, const std::string& folder, RunRole role, const RunKey& key,
                    uint64_t seed);

/// The run file of a planned run.
RunConfig run_config(const SweepPlan& plan, const PlannedRun& run);

} // namespace braid
