#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ablation/plan/model_size.h"
#include "ablation/plan/sweep_config.h"
#include "trainer/config/run_config.h"

namespace braid {

/// What `match` made of a variant.
struct Adjustment {
    std::string key;
    int64_t value = 0;
    double residue = 0; // what is left of the difference, as a part of the reference's quantity
};

/// One combination of levels.
struct Variant {
    std::string id;    // "placement-post_qk_norm-none": its part of a folder's name
    std::string label; // "placement post, qk_norm none"
    Settings levels;   // axis -> label
    Settings settings; // of all its levels, and of match
    bool is_reference = false;
    int64_t steps = 0; // that a run of it takes
    double tokens = 0; // through the model in a run
    ModelSize size;
    std::optional<Adjustment> adjusted;
};

/// A sweep as it will be run: every combination, its size, its seeds. Variants with one seed share the order
/// of data, and initial weights where names and shapes agree, as both follow from seed, name and index alone.
struct SweepPlan {
    SweepConfig sweep;
    std::string base_path; // of the run file
    RunConfig base;        // with sweep.set
    std::vector<Variant> variants;
    size_t reference = 0;
    std::vector<uint64_t> judge_seeds; // of all looks together
    std::vector<uint64_t> tune_seeds;
    std::string hash; // SHA-256 of the resolved sweep and of the run file's keys that change numbers

    /// The seeds that judge at look 1, 2, ...
    std::vector<uint64_t> seeds_at(int64_t look) const;
};

/// The metrics that evaluations of a run tell, and its loss. Of an accuracy more is better, of the others
/// less.
std::vector<std::string> metrics_of(const RunConfig& run);
bool is_accuracy(const std::string& metric);

/// What a run needs besides its variant.
struct RunSettings {
    uint64_t seed = 0;
    std::optional<double> tuned{}; // the value of tune.key
    int64_t steps = 0;             // fewer than the variant's, the decay of schedule wsd with them; 0: all
    int64_t stop_at = 0;           // saves and stops after this step, and keeps all it has saved; 0: its end
    std::string branch_of{};       // a checkpoint that it goes on from
    std::string run_dir{};
};

/// How often tuning doubles the length of its runs, and one time more; 1 for a grid. Runs of rung r of R have
/// a 2^(R-1-r)-th of the variant's steps, told as RunKey tells them: 0 for all.
int num_rungs(const TuneConfig& tune);

/// Resolves a sweep file: combinations, sizes, matched keys. `path` is the file, from whose folder `extends`
/// is looked up. Throws ConfigError for what cannot be run: an axis the run file does not have, combinations
/// that are equal, a quantity that no value of the adjusted key gives, seeds that both tune and judge.
SweepPlan make_plan(const SweepConfig& sweep, const std::string& path);

/// The resolved run file of one run.
RunConfig run_config(const SweepPlan& plan, const Variant& variant, const RunSettings& run);

/// ConfigError or DataError naming the variant where one does not fit `num_ranks` ranks or its data is
/// missing.
void expect_plan_starts(const SweepPlan& plan, int num_ranks);

/// Steps of a run that tunes, 0 for all of the variant's.
int64_t rung_steps(const SweepPlan& plan, size_t variant, int rung);

/// What the reader of a verdict should know of how the runs are made: a data order that all seeds share.
std::vector<std::string> plan_notes(const SweepPlan& plan);

} // namespace braid
