#pragma once

#include "parallel/communicator.h"
#include "tensor/memory/device.h"

namespace braid {

/// Whether ranks may share a GPU: the environment variable BRAID_SHARE_GPU is 1. ConfigError where it is
/// neither 0 nor 1. For tests: everything takes turns, and messages go through sockets of the machine.
bool may_share_gpus();

/// The same ranks, with GPUs: `host` for buffers of the host and a NCCL communicator, on_device(), for those
/// on the GPU of `compute`, the stream that its operations run in. Collective over `control`, the same ranks
/// once more, over which NCCL's id is handed out. Groups split off have both too. CommError where NCCL cannot
/// connect the GPUs. Where ranks share a GPU, all must be on one machine.
std::unique_ptr<Communicator> with_gpus(std::unique_ptr<Communicator> host, Communicator& control,
                                        const Stream& compute);

} // namespace braid
