#pragma once

#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "tensor/parameters/rank_grid.h"
#include "tensor/tensor.h"

namespace braid {

/// `comm`, or its counterpart for the GPU that x lies on.
Communicator& for_memory_of(Communicator& comm, const Tensor& x);

/// The sum of a packed f32, f64 or bf16 tensor over all ranks, in place, in three calls so that other work
/// can run between them: every rank gets its share of all ranks' tensors, adds them in rank order, and hands
/// the sums to all. The result is the same bits on every rank and depends on nothing but the values and the
/// number of ranks.
class OrderedAllReduce {
  public:
    /// Whether every rank gets all sums, or its own share of them only (a reduce-scatter; the rest of
    /// `values` stays as it is).
    enum class Result { everywhere, own_share };

    /// Starts to move the parts. `values` must stay untouched until finish() returns.
    OrderedAllReduce(Communicator& comm, Allocator& allocator, Tensor values,
                     Result result = Result::everywhere);
    /// Waits for the parts, adds them and starts to hand out the sums.
    void add_parts();
    void finish();
    /// Lets messages travel; never blocks.
    void poll() {
        if (pending_) pending_->poll();
    }

  private:
    Communicator& comm_;
    Tensor values_, parts_;
    EvenSplit split_;
    Result result_;
    std::unique_ptr<Pending> pending_;
};

/// Sums integers over all ranks, in place. Exact in any order.
void all_reduce_sum(Communicator& comm, std::span<int64_t> values);
/// Sums over all ranks, in place, adding in rank order.
void all_reduce_sum(Communicator& comm, std::span<double> values);
void all_reduce_max(Communicator& comm, std::span<double> values);
/// Every rank's values, as many on each, in rank order.
std::vector<double> all_gather_equal(Communicator& comm, std::span<const double> values);
/// The same for packed tensors, [ranks, shape of x].
Tensor all_gather_equal(Allocator& allocator, Communicator& comm, const Tensor& x);
/// Sums an i64 tensor over all ranks, in place.
void all_reduce_counts(Allocator& allocator, Communicator& comm, const Tensor& counts);
/// Every rank's text, by rank.
std::vector<std::string> all_gather_text(Communicator& comm, const std::string& text);
/// Returns when every rank has called it.
void barrier(Communicator& comm);

} // namespace braid
