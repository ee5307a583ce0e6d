#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "data/task_set.h"
#include "trainer/config/run_config.h"

namespace braid {

/// What keeps a well-formed run file from training: one line per fault, or several where layouts are listed.
struct RunFaults {
    std::vector<std::string> config; // groups that match nothing, sizes that the layout cannot share out
    std::vector<std::string> data;   // token files that are missing, damaged or do not fit the model

    bool empty() const { return config.empty() && data.empty(); }
    std::string text() const;
    /// That of the gravest: a config that is wrong, else data.
    ExitCode exit_code() const { return config.empty() ? ExitCode::data : ExitCode::usage; }
    /// Throws them as one error where there are any.
    void raise() const;
};

/// What to look at; a reader of a faulty file leaves out what its faults touch.
struct RunParts {
    bool layout = true, groups = true, data = true;
};

/// Every fault that `train` stops for on num_ranks ranks before its first step, but for what lies in the
/// machine. `train` makes these same checks, so that no other reader of a run file knows less.
RunFaults find_run_faults(const RunConfig& run, int num_ranks, const RunParts& parts = {});

/// The same of a file, after what is wrong in the file itself; parts that those faults reach are left out.
/// num_ranks 0 stands for the fewest that the layout can have.
RunFaults find_file_faults(const RunReading& reading, int num_ranks, bool with_data);

/// What `train` checks before it takes memory. Data files are opened by its loaders: only where something
/// else is wrong are they read here, so that all faults are named at once.
void expect_run_starts(const RunConfig& run, int num_ranks);

/// How a run reads a task.
TaskSet::Options task_options(const RunConfig& run, const TaskConfig& task);

/// The fewest ranks that the layout of the file can be shared out over.
int64_t fewest_ranks(const ParallelConfig& parallel);
inline constexpr int64_t kMostRanks = 1 << 20;

/// What is allowed and surely not meant: one line each, naming the key and the remedy.
std::vector<std::string> run_warnings(const RunConfig& run);

/// Where command-line overrides change the number of layers because the file gives none: a line that names
/// both counts. `run` is the file read with all of them.
std::vector<std::string> override_warnings(const RunConfig& run, const std::string& path,
                                           const std::vector<std::string>& overrides);

} // namespace braid
