#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "parallel/communicator.h"
#include "tensor/memory/device.h"

namespace braid {

/// all_reduce is that of the library (in any order), reduce_scatter the first half of the ordered sum.
enum class MeasuredCollective { all_reduce, all_gather, reduce_scatter, all_to_all };
const char* name_of(MeasuredCollective collective);
/// Bus bandwidth over algorithm bandwidth of a collective over n ranks, as NCCL's tests define them:
/// 2 (n - 1) / n for an all-reduce, else (n - 1) / n.
double bus_factor(MeasuredCollective collective, int num_ranks);

struct GemmRate {
    Device device;
    DType precision;
    double total, lowest; // operations per second: of all ranks, all at work; of the slowest rank
};
struct CopyRate {
    std::string kind; // "host", "host-device", "device-host", "device-device"
    int64_t bytes;
    double lowest; // bytes per second of the slowest rank, while all copy
};
/// `bytes`: of the tensor that is reduced, or of all ranks' parts of one rank together (gathered, scattered,
/// exchanged). Seconds: mean of the repetitions, of the slowest rank.
struct CollectiveRate {
    DeviceKind device;
    MeasuredCollective collective;
    int64_t bytes;
    double seconds;
    double bus_bandwidth; // bytes per second
};

/// All are collective over `world` and return the same on every rank; `compute` is the rank's stream.
std::vector<GemmRate> measure_gemm_rates(Communicator& world, const Stream& compute);
std::vector<CopyRate> measure_copy_rates(Communicator& world, const Stream& compute);
/// Of messages from `least` to `most` bytes, each `step` times the one before; in host memory, and where
/// world has GPUs in theirs too. Empty for one rank.
std::vector<CollectiveRate> measure_collectives(Communicator& world, const Stream& compute, int64_t least,
                                                int64_t most, int step, int repetitions);

} // namespace braid
