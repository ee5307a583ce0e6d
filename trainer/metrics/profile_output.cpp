#include "trainer/metrics/profile_output.h"

#include "base/atomic_file.h"
#include "tensor/memory/stream_marks.h"

namespace braid {

ProfileOutput::ProfileOutput(std::string folder, int rank, const Stream& compute)
    : folder_(std::move(folder)),
      rank_(rank),
      profiler_(compute.native() ? std::make_shared<StreamMarks>(compute) : nullptr) {}

Profiler* ProfileOutput::profiler_for(int64_t step) {
    if (first_step_ < 0) first_step_ = step;
    if (step < first_step_ + kSkippedSteps || num_profiled_ == kProfiledSteps) return nullptr;
    ++num_profiled_;
    return &profiler_;
}

void ProfileOutput::write_when_done(bool at_end) {
    if (written_ || num_profiled_ == 0 || (num_profiled_ < kProfiledSteps && !at_end)) return;
    written_ = true;
    profiler_.settle();
    const std::string name = fmt::format("{}/profile-rank-{}", folder_, rank_);
    write_file_atomically(name + ".txt", profiler_.table(), Overwrite::yes);
    write_file_atomically(name + ".json", profiler_.chrome_trace(rank_), Overwrite::yes);
    profiler_.clear();
}

} // namespace braid
