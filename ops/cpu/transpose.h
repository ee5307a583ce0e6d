#pragma once

#include <cstdint>

#include "base/highway_targets.h"

#include "hwy/highway.h"

namespace braid::ops::cpu {

/// out[j, i] = in[i, j] for i < rows, j < columns; rows of `in` and `out` lie ld_in and ld_out elements
/// apart. For tiles that stay in the first level cache, on the calling thread.
template <typename T>
void transpose_tile(int64_t rows, int64_t columns, const T* in, int64_t ld_in, T* out, int64_t ld_out) {
    namespace hn = hwy::HWY_NAMESPACE;
    constexpr int64_t kBlock = 16 / sizeof(T); // square blocks of 128-bit vectors
    const hn::FixedTag<T, kBlock> d;
    const int64_t full_rows = rows / kBlock * kBlock, full_columns = columns / kBlock * kBlock;
    for (int64_t i = 0; i < full_rows; i += kBlock)
        for (int64_t j = 0; j < full_columns; j += kBlock) {
            const T* from = in + i * ld_in + j;
            T* to = out + j * ld_out + i;
            if constexpr (kBlock == 2) {
                const auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + ld_in);
                hn::StoreU(hn::InterleaveLower(d, a, b), d, to);
                hn::StoreU(hn::InterleaveUpper(d, a, b), d, to + ld_out);
            } else {
                const auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + ld_in);
                const auto c = hn::LoadU(d, from + 2 * ld_in), e = hn::LoadU(d, from + 3 * ld_in);
                const auto ac_lower = hn::InterleaveLower(d, a, c), ac_upper = hn::InterleaveUpper(d, a, c);
                const auto be_lower = hn::InterleaveLower(d, b, e), be_upper = hn::InterleaveUpper(d, b, e);
                hn::StoreU(hn::InterleaveLower(d, ac_lower, be_lower), d, to);
                hn::StoreU(hn::InterleaveUpper(d, ac_lower, be_lower), d, to + ld_out);
                hn::StoreU(hn::InterleaveLower(d, ac_upper, be_upper), d, to + 2 * ld_out);
                hn::StoreU(hn::InterleaveUpper(d, ac_upper, be_upper), d, to + 3 * ld_out);
            }
        }
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = i < full_rows ? full_columns : 0; j < columns; ++j)
            out[j * ld_out + i] = in[i * ld_in + j];
}

} // namespace braid::ops::cpu
