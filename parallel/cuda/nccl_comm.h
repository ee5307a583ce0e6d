#pragma once

#include "parallel/communicator.h"
#include "tensor/memory/device.h"

namespace braid {

/// Of the library as loaded, as NCCL counts: 22203 for 2.22.3.
int nccl_version();

/// A NCCL communicator of the ranks of `control`, which hands out its id and takes part in nothing else; each
/// rank with its own GPU, that of `compute`. Collective.
///
/// Collectives run in a stream of their own, behind what `compute` has been given when they start; what
/// `compute` is given after wait() runs behind them. They move bytes, or add in NCCL's order
/// (all_reduce_any_order). All ranks must issue the collectives of all their communicators in one order.
std::unique_ptr<Communicator> nccl_communicator(Communicator& control, const Stream& compute);

} // namespace braid
