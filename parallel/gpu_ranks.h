#pragma once

#include "parallel/communicator.h"
#include "tensor/device.h"

namespace braid {

/// The same ranks, with GPUs: `host` for buffers of the host and a NCCL communicator, on_device(), for those
/// on the GPU of `compute`, the stream that its operations run in. Collective over `control`, the same ranks
/// once more, over which NCCL's id is handed out. Groups split off have both too. CommError where NCCL cannot
/// connect the GPUs.
std::unique_ptr<Communicator> with_gpus(std::unique_ptr<Communicator> host, Communicator& control,
                                        const Stream& compute);

} // namespace braid
