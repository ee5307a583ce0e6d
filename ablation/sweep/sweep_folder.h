#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ablation/plan/plan.h"
#include "base/atomic_file.h"

namespace braid {

/// sweeps/NAME: sweep.yaml (the plan with its hash, and what was changed in it since), base.yaml (the run
/// file as resolved when the plan was made), runs/ and tune/ (run folders), claims/, table.csv, verdict.json.
class SweepFolder {
  public:
    explicit SweepFolder(std::string path) : path_(std::move(path)) {}

    const std::string& path() const { return path_; }

    /// Makes this the plan of the folder, or sees that it is. A plan that differs from the stored one in what
    /// is run or how it is judged is a ConfigError that names each key with both values, unless `accept`:
    /// then it replaces the old one, which stays as sweep-1.yaml, ..., and plan_changes say so.
    void adopt(const SweepPlan& plan, bool accept);
    /// What was changed in the plan after its first start.
    std::vector<std::string> plan_changes() const;
    /// The hash of the plan as first made.
    std::string plan_hash() const;

    /// Takes a run for this process, or nothing where another has it.
    std::unique_ptr<FolderLock> claim(const std::string& run_id) const;

    /// Writes a file whole, with nobody else writing one at the same time.
    void write(const std::string& name, const std::string& content) const;
    /// Waits until no other process writes results, and holds them off while it lives.
    std::unique_ptr<FolderLock> hold_results() const;

  private:
    std::string path_;
};

} // namespace braid
