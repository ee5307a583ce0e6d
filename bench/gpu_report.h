#pragma once

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

#include "bench/gpu_case.h"

namespace braid::bench {

/// What operations are held against, measured in the same run.
struct Yardsticks {
    double gemm_bf16 = 0, gemm_f32 = 0; // FLOP/s of a large square product as linear layers call it
    double copy = 0;                    // bytes per second read and written by a copy within the GPU

    double gemm(DType precision) const { return precision == DType::f32 ? gemm_f32 : gemm_bf16; }
};

struct Timing {
    double milliseconds = 0, fastest = 0, slowest = 0; // median and range on the GPU
    double host_milliseconds = 0; // median that the host took to give out the work; above the GPU's, the
                                  // operation waits for the host
    int repetitions = 0;
    int64_t peak_bytes = 0; // of memory that tensors held, inputs included
};

/// One line of the report.
struct Result {
    std::string name, shape;
    Work work;
    std::string error; // empty where the case has run
    Timing timing;
};

/// The least seconds that the work would take at the yardsticks' rates, FLOPs or bytes, whichever takes
/// longer; and which does.
struct Bound {
    double seconds = 0;
    const char* yardstick = "";
};
Bound bound_of(const Work& work, const Yardsticks& yardsticks);

/// What the run was made with, for the head of the report.
struct RunHead {
    std::string device, capability, driver, runtime, commit;
    int multiprocessors = 0, highest_clock_mhz = 0;
    double memory_gib = 0;
    bool small = false;
};

std::string text_of(const RunHead& head);
std::string text_of(const Yardsticks& first, const std::optional<Yardsticks>& last);
std::string table_head();
std::string table_line(const Result& result, const Yardsticks& yardsticks);

/// The whole run, every number in SI units but milliseconds. `fatal` says why it ended early, if it did.
nlohmann::json json_of(const RunHead& head, const Yardsticks& first, const std::optional<Yardsticks>& last,
                       const std::vector<Result>& results, const std::string& fatal);

} // namespace braid::bench
