#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/atomic_file.h"
#include "trainer/metrics/metrics_lines.h"

namespace braid {

/// The folder a run writes into, held by this process until destroyed. docs/runs.md describes its files;
/// this class keeps config.yaml and log.txt, RunRecord run.json, and MetricsWriter the metrics.
class RunFolder {
  public:
    /// Creates `path` and its parents where missing. Throws WriteError where that fails or another process
    /// holds the folder (naming it), ConfigError where it holds files of a run but no config.yaml.
    explicit RunFolder(std::string path);
    RunFolder(const RunFolder&) = delete;
    RunFolder& operator=(const RunFolder&) = delete;
    /// A start that is refused leaves no folder: what this object made goes again, unless a config was
    /// stored.
    ~RunFolder();

    const std::string& path() const { return path_; }
    /// Where checkpoints go; whoever writes one creates it.
    std::string checkpoints() const { return path_ + "/checkpoints"; }

    /// The config.yaml an earlier start left; nothing means the folder is new.
    std::optional<std::string> stored_config() const;
    /// Writes config.yaml, the first file of a new folder. One that exists with another text is kept as
    /// config-1.yaml (config-2.yaml, ...) and replaced.
    void store_config(std::string_view yaml);

    /// Tries out what saving asks of the file system, so that what it refuses is found before the first step,
    /// and removes the temporary files that killed processes left here. WriteError.
    void prepare();
    /// WriteError where the folder was renamed or removed since it was locked.
    void expect_in_place() const { lock_->expect_in_place(); }
    bool is_in_place() const { return lock_->is_in_place(); }

    /// Adds lines to log.txt, each behind the time in UTC.
    void log(std::string_view message);

  private:
    void remove_temporary_files();

    std::string path_;
    std::vector<std::string> made_; // folders that were missing, the innermost last
    std::optional<FolderLock> lock_;
    std::optional<LineFile> log_;
};

/// The config.yaml of the run folder `path`, or nothing where the file or folder does not exist; takes no
/// lock.
std::optional<std::string> read_stored_config(const std::string& path);

} // namespace braid
