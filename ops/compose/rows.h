#pragma once

#include <span>
#include <vector>

#include "tensor/tape.h"

namespace braid::ops {

/// Which of n rows each of r rows is, or none, as tables in the memory where operations run. Made once, for
/// any number of calls.
class RowIndex {
  public:
    /// rows[i] in [-1, num_rows): -1 is none. The tables are taken to where `allocator` has its memory.
    RowIndex(Allocator& allocator, std::span<const int32_t> rows, int64_t num_rows);

    int64_t num_rows() const { return num_rows_; }         // n
    int64_t num_gathered() const { return rows_.numel(); } // r
    const Tensor& rows() const { return rows_; }           // i32 [r]
    /// The other way round: row j is places()[first()[j]] to places()[first()[j + 1] - 1], in ascending
    /// order.
    const Tensor& first() const { return first_; }   // i32 [n + 1]
    const Tensor& places() const { return places_; } // i32 [r - those that are none]

  private:
    int64_t num_rows_;
    Tensor rows_, first_, places_;
};

/// y[i] = x[rows[i]], zeros where that is none: x [n, ...] -> [r, ...].
Tensor gather_rows(Context& ctx, const Tensor& x, const RowIndex& index);
/// y[j] = the sum of x[i] over i with rows[i] = j, in ascending order: x [r, ...] -> [n, ...].
Tensor scatter_rows(Context& ctx, const Tensor& x, const RowIndex& index);

/// Every row `times` times in a row: x [n, ...] -> [n times, ...], as what all heads of a token share.
Tensor repeat_rows(Context& ctx, const Tensor& x, int64_t times);
/// y[j, i] = x[i, j]: x [a, b, d] -> [b, a, d].
Tensor swap_rows(Context& ctx, const Tensor& x);

/// x with rows that lie one after the other: itself where they do, else a copy. For views that join
/// dimensions.
Tensor packed(Context& ctx, const Tensor& x);

/// The columns of parts [T, n_i], one after the other: [T, sum of n_i]. Its inverse is split_columns.
Tensor concatenate_columns(Context& ctx, std::span<const Tensor> parts);

} // namespace braid::ops
