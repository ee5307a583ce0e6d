#pragma once

#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "tensor/rank_grid.h"
#include "tensor/tensor.h"

namespace braid {

/// sum[i] = the sum of pieces[r * count + i] over r < size, added in the order of r; bf16 in f32, rounded
/// once.
template <typename T>
void add_in_rank_order(const T* pieces, int size, int64_t count, T* sum) {
    using Sum = Accumulation<T>;
#pragma omp parallel for schedule(static) if (count > 1 << 14)
    for (int64_t i = 0; i < count; ++i) {
        Sum total = static_cast<Sum>(pieces[i]);
        for (int r = 1; r < size; ++r) total += static_cast<Sum>(pieces[r * count + i]);
        sum[i] = static_cast<T>(total);
    }
}

/// The sum of a packed f32, f64 or bf16 tensor over all ranks, in place, in three calls so that other work
/// can run between them: every rank gets its share of all ranks' tensors, adds them in rank order, and hands
/// the sums to all. The result is the same bits on every rank and depends on nothing but the values and the
/// number of ranks.
class OrderedAllReduce {
  public:
    /// Whether every rank gets all sums, or its own share of them only (a reduce-scatter; the rest of
    /// `values` stays as it is).
    enum class Result { everywhere, own_share };

    /// Starts to move the pieces. `values` must stay untouched until finish() returns.
    OrderedAllReduce(Communicator& comm, Allocator& allocator, Tensor values,
                     Result result = Result::everywhere);
    /// Waits for the pieces, adds them and starts to hand out the sums.
    void add_pieces();
    void finish();
    /// Lets messages travel; never blocks.
    void poll() {
        if (pending_) pending_->poll();
    }

  private:
    Communicator& comm_;
    Tensor values_, pieces_;
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
/// Every rank's text, by rank.
std::vector<std::string> all_gather_text(Communicator& comm, const std::string& text);
/// Returns when every rank has called it.
void barrier(Communicator& comm);

} // namespace braid
