#include "trainer/run/run_samples.h"

#include <filesystem>

#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/stored_config.h"
#include "trainer/run/run_record.h"
#include "trainer/start/start.h"

namespace braid {
namespace {

/// The newest checkpoint whose manifest is in order; those that are damaged are not asked.
std::optional<CheckpointReader> newest_readable(const std::string& folder) {
    for (const CheckpointEntry& entry : list_checkpoints(folder)) {
        try {
            return CheckpointReader::open(entry.path);
        } catch (const CheckpointError&) {
        }
    }
    return std::nullopt;
}

/// Where a branch begins that has no checkpoint of its own yet.
SamplePosition follow_parent(TrainLoader& loader, const RunConfig& config, const std::string& folder) {
    const ResumePoint parent = find_parent(config, recorded_parent(folder, config.start));
    const CheckpointReader reader = CheckpointReader::open(parent.checkpoint);
    const RunConfig its = stored_run_config(reader.manifest(), reader.folder());
    SamplePosition position = branch_position(reader.manifest().training, its, loader, reader.folder());
    apply_position(position, config, loader, reader.folder());
    return position;
}

} // namespace

SamplePosition follow_run(TrainLoader& loader, const RunConfig& config, const std::string& config_path) {
    const std::filesystem::path folder = std::filesystem::path(config_path).parent_path();
    const auto reader = newest_readable((folder / kCheckpointsFolder).string());
    const bool branches = !config.start.from.empty() && config.start.mode == StartMode::branch;
    if (!reader && branches) return follow_parent(loader, config, folder.string());
    if (!reader) {
        apply_position({}, config, loader, "");
        return {};
    }
    const TrainingState& training = reader->manifest().training;
    loader.set_order(stored_data_order(training, reader->folder()));
    expect_same_data(training, loader, reader->folder());
    SamplePosition position = stored_position(training, reader->folder());
    apply_position(position, config, loader, reader->folder());
    return position;
}

} // namespace braid
