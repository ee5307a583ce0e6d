#pragma once

#include <cstdint>

namespace braid::ops::cpu {

/// The columns of a tile that a row may see; none if begin >= end.
struct VisibleColumns {
    int32_t begin, end;
};

/// One step of the online softmax over a tile of logits s [rows, columns], ld elements between rows, T float
/// or double. With m' = max(row_max, the row's visible logits), s becomes exp(s - m') where visible and 0
/// elsewhere; factor = exp(row_max - m'); row_sum becomes factor row_sum + the row's sum; row_max becomes m'.
/// At the start row_max is -infinity and row_sum 0. A row that sees nothing keeps both, with factor 1.
template <typename T>
void online_softmax_rows(int64_t rows, int64_t columns, const VisibleColumns* visible, T* s, int64_t ld,
                         T* row_max, T* row_sum, T* factor);

/// s becomes exp(s - row_max) * inverse_sum where visible and 0 elsewhere: the softmax, given its statistics.
template <typename T>
void softmax_rows(int64_t rows, int64_t columns, const VisibleColumns* visible, T* s, int64_t ld,
                  const T* row_max, const T* inverse_sum);

} // namespace braid::ops::cpu
