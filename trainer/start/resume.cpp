#include "trainer/start/resume.h"

#include <algorithm>

#include "optim/lr_schedule.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/stored_config.h"
#include "trainer/checkpoint/training_state.h"

namespace braid {
namespace {

std::string listed(const std::vector<ConfigDifference>& differences) {
    std::string text;
    for (const auto& difference : differences)
        text += fmt::format("\n  {}: {} there, {} now", difference.key, difference.old_value,
                            difference.new_value);
    return text;
}

/// True for keys that act on the numbers through the learning rate alone.
bool sets_only_the_rate(const std::string& key) {
    return key == "train.steps" || key == "optimizer.lr" || key.starts_with("optimizer.schedule.");
}

bool same_rates(const RunConfig& then, const RunConfig& now, int64_t step, int64_t first) {
    // A step beyond the end, which a damaged file may state, asks for nothing more.
    for (int64_t s = first + 1; s <= std::min(step, now.train.steps); ++s)
        if (learning_rate(then.optimizer, s, then.train.steps) !=
            learning_rate(now.optimizer, s, now.train.steps))
            return false;
    return true;
}

/// What data.skip says of steps behind `first` up to `step`; the others have not been or are a parent's.
std::vector<StepRange> skipped_until(const RunConfig& config, int64_t step, int64_t first) {
    std::vector<StepRange> ranges = config.data.skip;
    std::erase_if(ranges, [&](const StepRange& range) { return range[0] <= first || range[0] > step; });
    return ranges;
}

bool skips_steps(const std::string& key) {
    return key == "data.skip" || key.starts_with("data.skip.");
}

/// True for keys that may change where the steps behind a checkpoint alone depend on them.
bool acts_by_step(const std::string& key) {
    return sets_only_the_rate(key) || skips_steps(key);
}

void expect_same_run(const Manifest& manifest, const std::string& path, const RunConfig& config) {
    const RunConfig its = stored_run_config(manifest, path);
    expect_reachable(manifest.training, its, path);
    const int64_t first = stored_position(manifest.training, path).first_step;
    const auto differences = differences_until(its, config, manifest.training.step, first);
    if (!differences.empty())
        throw CheckpointError("{}: was written by a run whose numbers differ:{}", path, listed(differences));
}

/// Branches of two checkpoints may have one config; what they learned is not the same.
void expect_same_parent(const Manifest& manifest, const std::string& path,
                        const std::optional<StoredRun>& run) {
    if (!run || !run->parent) return;
    const std::string theirs = stored_parent(manifest.training);
    if (theirs == *run->parent) return;
    const auto described = [](const std::string& parent) {
        return parent.empty() ? std::string("from nothing") : "from the checkpoint saved as " + parent;
    };
    throw CheckpointError("{}: was written by a run that began {}, this one (run.json) began {}", path,
                          described(theirs), described(*run->parent));
}

/// The start goes on from this checkpoint, or from none: what the folder holds up to there becomes part of
/// the run.
void expect_same_folder(const RunConfig& stored, const RunConfig& config, const std::string& checkpoint) {
    int64_t step = 0, first = 0;
    if (!checkpoint.empty()) {
        const CheckpointReader reader = CheckpointReader::open(checkpoint);
        step = reader.manifest().training.step;
        first = stored_position(reader.manifest().training, checkpoint).first_step;
    }
    const auto differences = differences_until(stored, config, step, first);
    if (differences.empty()) return;
    std::string advice = "choose another name or run_dir, or set these back";
    if (step > 0 && std::all_of(differences.begin(), differences.end(),
                                [](const auto& difference) { return acts_by_step(difference.key); }))
        advice += fmt::format(
            ", or go back with --resume CHECKPOINT to a step up to which learning rates and skipped steps "
            "are "
            "equal (at step {} they are not)",
            step);
    throw ConfigError("the run folder holds a run whose numbers differ; {}:{}", advice, listed(differences));
}

} // namespace

void expect_reachable(const TrainingState& training, const RunConfig& config, const std::string& checkpoint) {
    if (training.step > config.train.steps)
        throw CheckpointError("{}: expected at most step {}, where its run ends, found step {}", checkpoint,
                              config.train.steps, training.step);
    const SamplePosition position = stored_position(training, checkpoint);
    const int64_t samples = position.sample_after(training.step, config.train.global_batch);
    if (training.sample != samples)
        throw CheckpointError("{}: holds {} samples after {} steps, expected {} (train.global_batch {})",
                              checkpoint, training.sample, training.step, samples, config.train.global_batch);
    const int64_t new_samples = samples - position.first_sample;
    if ((training.tokens - position.first_tokens) / config.train.sequence_length > new_samples)
        throw CheckpointError("{}: holds {} tokens after {} samples of {}", checkpoint,
                              training.tokens - position.first_tokens, new_samples,
                              config.train.sequence_length);
}

std::vector<ConfigDifference> differences_until(const RunConfig& then, const RunConfig& now, int64_t step,
                                                int64_t first) {
    std::vector<ConfigDifference> differences = numeric_differences(then, now);
    std::erase_if(differences,
                  [](const ConfigDifference& difference) { return difference.key.starts_with("start."); });
    const auto of_the_rate = [](const ConfigDifference& difference) {
        return sets_only_the_rate(difference.key);
    };
    if (std::any_of(differences.begin(), differences.end(), of_the_rate) &&
        same_rates(then, now, step, first))
        std::erase_if(differences, of_the_rate);
    if (skipped_until(then, step, first) == skipped_until(now, step, first))
        std::erase_if(differences,
                      [](const ConfigDifference& difference) { return skips_steps(difference.key); });
    return differences;
}

ResumePoint find_resume_point(const RunConfig& config, const std::string& resume,
                              const std::optional<StoredRun>& stored_run,
                              const std::string& checkpoints_folder, const std::function<void()>& tick) {
    if (resume == "never") {
        if (stored_run)
            throw ConfigError(
                "--resume never: the run folder already holds a run; choose another name or run_dir, or "
                "remove it");
        return {};
    }
    std::optional<RunConfig> stored;
    if (stored_run) stored = parse_stored_config(stored_run->config, "the run folder's config.yaml");
    if (resume != "auto") {
        const CheckpointReader reader = CheckpointReader::open(resolve_checkpoint(resume));
        const int64_t step = reader.manifest().training.step;
        if (stored) expect_same_folder(*stored, config, reader.folder());
        expect_same_run(reader.manifest(), reader.folder(), config);
        expect_same_parent(reader.manifest(), reader.folder(), stored_run);
        return {reader.folder(), step, fmt::format("resuming from {} at step {}", reader.folder(), step)};
    }
    const auto latest = find_resume_checkpoint(
        checkpoints_folder,
        [&](const Manifest& manifest, const std::string& path) {
            expect_same_run(manifest, path, stored ? *stored : config);
            expect_same_parent(manifest, path, stored_run);
        },
        tick);
    if (stored) expect_same_folder(*stored, config, latest ? latest->path : "");
    if (!latest) {
        if (!stored) return {};
        return {"", 0, "the run folder has no checkpoint yet: starting at step 0"};
    }
    std::string message = fmt::format("resuming from {} at step {}", latest->path, latest->step);
    for (const auto& rejected : latest->rejected) message += "\nskipped " + rejected.reason;
    if (stored && !config.start.from.empty() && config.start != stored->start)
        message += fmt::format(
            "\nstart is without effect, as the run has checkpoints of its own; to start from {}, choose "
            "another "
            "name",
            config.start.from);
    return {latest->path, latest->step, message};
}

} // namespace braid
