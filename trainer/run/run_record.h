#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "trainer/config/run_config.h"

namespace braid {

/// What a start of a run knows about itself. build_info() and library_versions() are recorded besides.
struct RunStart {
    std::vector<std::string> command;             // program and arguments
    std::vector<std::string> hosts;               // of each rank, in rank order
    std::vector<std::string> devices;             // of each rank, in rank order
    int threads = 1;                              // per rank
    std::map<std::string, std::string> libraries; // versions only launch/ knows, as that of MPI
    std::map<std::string, std::string> labels;    // what the run is part of, as of a sweep
    std::string parent;                           // checkpoint resumed from; empty: none
    std::string superseded;                       // folder that later steps were moved to; empty: none
    StartConfig from;                             // what parent is of, where it is another run's
    std::string parent_save_id;                   // and which save made it
    int64_t step = 0;                             // completed before this start
    int64_t tokens = 0;                           // trained on before this start
};

/// How far a start has come.
struct RunProgress {
    int64_t step = 0;   // completed so far
    int64_t tokens = 0; // trained on so far, by all starts that led here
    double flops = 0;   // model FLOPs of this start alone
};

/// run.json: what ran here, when, on what, and how it ended; one entry per start. Every change replaces the
/// file at once. A start without exit_code did not end by itself: it runs still, or was killed.
class RunRecord {
  public:
    /// Adds an entry to `FOLDER/run.json`, which is made where missing. Throws ConfigError for a file that is
    /// no run record, WriteError where writing fails.
    RunRecord(const std::string& folder, const RunStart& start);
    ~RunRecord();

    /// Call it with each checkpoint, so that a killed start counts up to its last one.
    void update(const RunProgress& progress);
    /// The last call. A start that failed leaves `progress` out: the last update stands.
    void finish(ExitCode code, const std::optional<RunProgress>& progress = std::nullopt);

  private:
    void save();

    const std::string path_;
    const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
    const int64_t tokens_before_;
    std::unique_ptr<nlohmann::ordered_json> starts_; // the last element is this start's
};

/// The checkpoint of another run that the newest start of `FOLDER/run.json` by this `start` began from; empty
/// where there was none. ConfigError for a file that is no run record.
std::string recorded_parent(const std::string& folder, const StartConfig& start);

/// The save id of the other run's checkpoint that the run in the folder began from, by `FOLDER/run.json`;
/// empty where it began from nothing, nothing where the record does not tell. ConfigError as above.
std::optional<std::string> recorded_parent_save(const std::string& folder);

/// The time now in UTC as 2026-01-31T09:05:00Z.
std::string utc_time();

} // namespace braid
