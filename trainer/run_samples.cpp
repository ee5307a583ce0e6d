#include "trainer/run_samples.h"

#include <filesystem>

#include "trainer/checkpoint_folder.h"
#include "trainer/checkpoint_reader.h"

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

} // namespace

SamplePosition follow_run(TrainLoader& loader, const std::string& config_path) {
    const std::filesystem::path folder = std::filesystem::path(config_path).parent_path();
    const auto reader = newest_readable((folder / kCheckpointsFolder).string());
    if (!reader) return {};
    const TrainingState& training = reader->manifest().training;
    loader.set_order(stored_data_order(training, reader->folder()));
    expect_same_data(training, loader, reader->folder());
    SamplePosition position = stored_position(training, reader->folder());
    apply_position(position, loader, reader->folder());
    return position;
}

} // namespace braid
