#include "trainer/start/start.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "layers/feed_forward/moe_config.h"
#include "layers/specification/pattern.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/stored_config.h"

namespace braid {
namespace {

namespace fs = std::filesystem;

bool is_loss_weight(const std::string& key) {
    return key == "model.head.z_loss" ||
           (key.starts_with("model.sublayers.") &&
            (key.ends_with(".router.aux_loss") || key.ends_with(".router.z_loss")));
}

/// A key that is there in one of the runs only, as the weight it goes with is 0 in the other.
bool follows_loss_weight(const ConfigDifference& difference) {
    return difference.key.ends_with(".router.aux_scope") &&
           (difference.old_value == ConfigDifference::kAbsent ||
            difference.new_value == ConfigDifference::kAbsent);
}

/// Whether two sublayers compute the same of a stream, whatever their routers' losses weigh.
bool same_but_for_losses(const ResolvedSublayer& a, ResolvedSublayer b) {
    const auto* there = a.config.kind.get_if<MoeConfig>();
    auto* here = b.config.kind.get_if<MoeConfig>();
    if (there && here) {
        if (there->router.aux_loss == 0 || here->router.aux_loss == 0)
            here->router.aux_scope = there->router.aux_scope; // of a loss that one of them lacks
        here->router.aux_loss = there->router.aux_loss;
        here->router.z_loss = there->router.z_loss;
    }
    return a == b;
}

bool same_layers_but_for_losses(const ModelConfig& a, const ModelConfig& b) {
    return std::ranges::equal(expand_layers(a), expand_layers(b), [](const auto& there, const auto& here) {
        return std::ranges::equal(there.sublayers, here.sublayers, same_but_for_losses);
    });
}

/// A path that leads through links, as one to the latest run, without them: a link may lead elsewhere when
/// this start is repeated. Any other path as it is.
std::string without_links(const std::string& path) {
    std::error_code error;
    fs::path whole = fs::absolute(path, error).lexically_normal();
    if (!whole.has_filename()) whole = whole.parent_path(); // ended in a slash
    const fs::path real = fs::canonical(path, error);
    return error || real == whole ? path : real.string();
}

/// The checkpoint that a path stands for, and what the user should know of others.
LatestCheckpoint resolve_parent(const std::string& path, const std::function<void()>& tick) {
    try {
        const std::string folder = checkpoints_folder(path);
        // A folder that is no checkpoint itself stands for the newest in it.
        if (list_checkpoints(folder).empty()) return {resolve_checkpoint(path), 0, {}};
        if (const auto latest = find_resume_checkpoint(folder, {}, tick)) return *latest;
        throw CheckpointError("{}: expected a checkpoint, found none", folder);
    } catch (const CheckpointError& error) {
        throw CheckpointError("start.from: {}", error.what());
    }
}

/// What an earlier start took, which the parent may have removed since, as it keeps its newest only.
LatestCheckpoint resolve_recorded(const std::string& path, const std::function<void()>& tick) {
    try {
        return resolve_parent(path, tick);
    } catch (const CheckpointError& error) {
        throw CheckpointError(
            "{}\nthe first start of this run took that checkpoint (run.json), and the run has none of its "
            "own yet; name another in start.from to begin from that one",
            error.what());
    }
}

void expect_steps_left(const RunConfig& config, int64_t step) {
    const bool stops = config.train.stop_at > 0 && config.train.stop_at < config.train.steps;
    const int64_t last = stops ? config.train.stop_at : config.train.steps;
    if (last <= step)
        throw ConfigError(
            "train.{}: a branch goes on after its parent's step {}, so expected more than {}, found {}",
            stops ? "stop_at" : "steps", step, step, last);
}

void expect_may_branch(const RunConfig& parent, const RunConfig& config, const std::string& checkpoint) {
    const auto differences = forbidden_in_branch(parent, config);
    if (differences.empty()) return;
    std::string keys;
    for (const auto& difference : differences)
        keys += fmt::format("\n  {}: {} there, {} now", difference.key, difference.old_value,
                            difference.new_value);
    throw ConfigError("a branch of {} may not change these keys (start.mode weights may):{}", checkpoint,
                      keys);
}

} // namespace

std::vector<ConfigDifference> forbidden_in_branch(const RunConfig& parent, const RunConfig& branch) {
    std::vector<ConfigDifference> differences = numeric_differences(parent, branch);
    const bool same_layers = same_layers_but_for_losses(parent.model, branch.model);
    std::erase_if(differences, [&](const ConfigDifference& difference) {
        const std::string& key = difference.key;
        return key != "optimizer.type" &&
               (!key.starts_with("model.") || is_loss_weight(key) || follows_loss_weight(difference) ||
                (same_layers && spells_layers(key)));
    });
    return differences;
}

ResumePoint find_parent(const RunConfig& config, const std::string& recorded,
                        const std::function<void()>& tick) {
    LatestCheckpoint found =
        recorded.empty() ? resolve_parent(config.start.from, tick) : resolve_recorded(recorded, tick);
    found.path = without_links(found.path);
    const CheckpointReader reader = CheckpointReader::open(found.path);
    const TrainingState& training = reader.manifest().training;
    const RunConfig parent = stored_run_config(reader.manifest(), found.path);
    expect_reachable(training, parent, found.path);
    ResumePoint point{found.path, 0, "", config.start.mode};
    if (config.start.mode == StartMode::branch) {
        expect_may_branch(parent, config, found.path);
        expect_steps_left(config, training.step);
        point.step = training.step;
        point.message = fmt::format("branching from {} at step {}", found.path, training.step);
    } else {
        point.message = fmt::format("starting with the weights of {} (step {})", found.path, training.step);
    }
    for (const auto& rejected : found.rejected) point.message += "\nskipped " + rejected.reason;
    return point;
}

} // namespace braid
