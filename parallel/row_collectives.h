#pragma once

#include <memory>
#include <vector>

#include "parallel/communicator.h"
#include "tensor/parameters/rank_grid.h"
#include "tensor/tape.h"

namespace braid {

// Collectives on the rows (dimension 0, usually tokens) of packed f32, f64 or bf16 tensors, recorded on the
// tape with their gradients. All ranks of the group call them in the same order. Sums are added in rank
// order, those of bf16 in f32 and then rounded once. A "copy" below is a tensor of which every rank of the
// group holds the same bits.

/// How many rows each rank of a group has.
using RowCounts = std::vector<int64_t>;
RowCounts even_rows(int64_t rows, int size);

/// Every rank's rows, in rank order. The result is used for different work on every rank, so its gradient is
/// a part of a sum: backward is reduce_scatter_rows.
Tensor all_gather_rows(Context& ctx, Communicator& comm, const Tensor& x, const RowCounts& rows);
/// Sums x over ranks and gives each its rows of the sum; backward is all_gather_rows.
Tensor reduce_scatter_rows(Context& ctx, Communicator& comm, const Tensor& x, const RowCounts& rows);

// The four regions of Megatron-LM (Shoeybi et al., arXiv:1909.08053), of whatever ranks `comm` has; what is
// scattered or gathered are rows here.

/// A copy, used for different work on every rank: forward nothing, backward sums the gradient over ranks.
Tensor copy_to_region(Context& ctx, Communicator& comm, const Tensor& x);
/// The sum over ranks, a copy whose gradient is a copy as well: backward nothing.
Tensor reduce_from_region(Context& ctx, Communicator& comm, const Tensor& x);
/// This rank's rows of a copy; backward makes the copy of the gradient whole again.
Tensor scatter_to_region(Context& ctx, Communicator& comm, const Tensor& x, const RowCounts& rows);
/// A copy made of every rank's rows; backward takes this rank's.
Tensor gather_from_region(Context& ctx, Communicator& comm, const Tensor& x, const RowCounts& rows);

/// The sum over ranks, used for different work on every rank: backward sums as well.
Tensor reduce_in_region(Context& ctx, Communicator& comm, const Tensor& x);

/// Rows on their way to other ranks: `send` rows go to each rank, `receive` come from each, in rank order.
/// Between start and finish other work can run, in backward too, where rows travel the other way.
class RowExchange {
  public:
    /// `send` and `receive` are rows per rank; x [sum of send, ...].
    RowExchange(Context& ctx, Communicator& comm, const Tensor& x, RowCounts send, RowCounts receive);
    /// The rows of rank 0, 1, ... [sum of receive, ...].
    Tensor finish(Context& ctx);

  private:
    struct State;
    std::shared_ptr<State> state_;
};

/// Row counts from and to every rank: what each rank here sends, each rank there learns. Blocks.
RowCounts exchange_counts(Communicator& comm, const RowCounts& send);
/// Integers in rows, without gradient; blocks.
Tensor exchange_integers(Allocator& allocator, Communicator& comm, const Tensor& x, const RowCounts& send,
                         const RowCounts& receive);
Tensor all_gather_integers(Allocator& allocator, Communicator& comm, const Tensor& x, const RowCounts& rows);

} // namespace braid
