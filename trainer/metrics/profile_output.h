#pragma once

#include <string>

#include "base/profiler.h"
#include "tensor/memory/device.h"

namespace braid {

/// Profiles a few steps of a start (the first one is left out: it fills caches) and writes
/// profile-rank-N.txt, a table of time and FLOP/s per operation and per layer, and profile-rank-N.json, a
/// Chrome trace, into the run folder.
class ProfileOutput {
  public:
    static constexpr int kSkippedSteps = 1, kProfiledSteps = 5;

    /// Times what `compute` works, on a GPU by its events.
    ProfileOutput(std::string folder, int rank, const Stream& compute);

    /// The profiler for a step, or null where the step is not profiled.
    Profiler* profiler_for(int64_t step);
    /// Writes once the last profiled step is done, or `at_end`. WriteError.
    void write_when_done(bool at_end);

  private:
    const std::string folder_;
    const int rank_;
    Profiler profiler_;
    int64_t first_step_ = -1;
    int num_profiled_ = 0;
    bool written_ = false;
};

} // namespace braid
