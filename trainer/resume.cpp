#include "trainer/resume.h"

#include "trainer/checkpoint_folder.h"
#include "trainer/checkpoint_reader.h"

namespace braid {
namespace {

std::string listed(const std::vector<ConfigDifference>& differences) {
    std::string text;
    for (const auto& difference : differences)
        text += fmt::format("\n  {}: {} there, {} now", difference.key, difference.old_value,
                            difference.new_value);
    return text;
}

ResumePoint resume_from_path(const RunConfig& config, const std::string& path) {
    const CheckpointReader reader = CheckpointReader::open(resolve_checkpoint(path));
    const auto differences = numeric_differences(
        parse_run_config(reader.manifest().config, reader.folder() + ", its config"), config);
    if (!differences.empty())
        throw CheckpointError("{}: was written by a run whose numbers differ:{}", reader.folder(),
                              listed(differences));
    const int64_t step = reader.manifest().training.step;
    return {reader.folder(), step, fmt::format("resuming from {} at step {}", reader.folder(), step)};
}

} // namespace

ResumePoint find_resume_point(const RunConfig& config, const std::string& resume,
                              const std::optional<std::string>& stored_config,
                              const std::string& checkpoints_folder) {
    if (resume == "never") {
        if (stored_config)
            throw ConfigError(
                "--resume never: the run folder already holds a run; choose another name or run_dir, or "
                "remove it");
        return {};
    }
    if (stored_config) {
        const auto differences =
            numeric_differences(parse_run_config(*stored_config, "the run folder's config.yaml"), config);
        if (!differences.empty())
            throw ConfigError(
                "the run folder holds a run whose numbers differ; choose another name or run_dir, or set "
                "these "
                "back:{}",
                listed(differences));
    }
    if (resume != "auto") return resume_from_path(config, resume);
    const auto latest = find_resume_checkpoint(checkpoints_folder);
    if (!latest) {
        if (!stored_config) return {};
        return {"", 0, "the run folder has no checkpoint yet: starting at step 0"};
    }
    std::string message = fmt::format("resuming from {} at step {}", latest->path, latest->step);
    for (const auto& rejected : latest->rejected)
        message += fmt::format("\nskipped {}: {}", rejected.path, rejected.reason);
    return {latest->path, latest->step, message};
}

} // namespace braid
