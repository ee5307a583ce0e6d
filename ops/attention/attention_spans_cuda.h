#pragma once

#include "ops/attention/attention_kernels.h"
#include "tensor/cuda/for_each.h"

// Where the tiles of attention lie. Tiles are counted from the start of their span, so that a row's
// arithmetic depends on its span alone.
namespace braid::ops::cuda {

/// Rows (token, head) of a tensor [tokens, heads, size].
template <typename T>
struct HeadRows {
    T* data;
    int64_t stride;
    int size;

    explicit HeadRows(const Tensor& x)
        : data(x.data<std::remove_const_t<T>>()), stride(x.row_stride()), size(static_cast<int>(x.dim(2))) {}
    __device__ __forceinline__ T* operator()(int64_t token, int64_t head) const {
        return data + token * stride + head * size;
    }
};

/// A problem as kernels see it.
struct Spans {
    const int64_t* table;
    int64_t count, heads, group, window;
    double scale;

    Spans(const AttentionProblem& problem, const Tensor& q, const Tensor& k)
        : table(problem.span_table.data<int64_t>()),
          count(static_cast<int64_t>(problem.spans.size())),
          heads(q.dim(1)),
          group(q.dim(1) / k.dim(1)),
          window(problem.window),
          scale(problem.scale) {}

    /// The first key that a position sees; the last is itself.
    __device__ __forceinline__ int64_t first_key(int64_t position) const {
        return window && position >= window ? position - window + 1 : 0;
    }
    __device__ __forceinline__ bool sees(int64_t position, int64_t key) const {
        return key <= position && (window == 0 || key > position - window);
    }
};

/// `rows` queries or keys from number `first` of their span on; none where the block goes beyond the span.
struct SpanTile {
    int64_t query_begin, num_queries, key_begin, num_keys;
    int64_t first;
    int rows;
    /// The position, among the span's keys, of its first query.
    __device__ __forceinline__ int64_t offset() const { return num_keys - num_queries; }
};

/// Tile number `tile` of all spans, where each has tiles for whole blocks of kSpanBlock queries or keys.
template <int kSide, bool kKeys>
__device__ __forceinline__ SpanTile find_span_tile(const Spans& spans, int64_t tile) {
    constexpr int64_t kPerBlock = AttentionProblem::kSpanBlock / kSide;
    static_assert(AttentionProblem::kSpanBlock % kSide == 0);
    const int64_t block = tile / kPerBlock;
    int64_t low = 0, high = spans.count; // the last span that begins at or before the block is in [low, high)
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        (spans.table[6 * middle + 4 + kKeys] <= block ? low : high) = middle;
    }
    const int64_t* span = spans.table + 6 * low;
    SpanTile found{span[0], span[1], span[2], span[3], 0, 0};
    found.first = (tile - kPerBlock * span[4 + kKeys]) * kSide;
    const int64_t left = (kKeys ? found.num_keys : found.num_queries) - found.first;
    found.rows = static_cast<int>(left < kSide ? left : kSide);
    return found;
}

/// Blocks for tiles of `side` of so many blocks of the span table, for each of `heads`.
inline dim3 tile_grid(int64_t span_blocks, int side, int64_t heads) {
    const int64_t blocks = span_blocks * (AttentionProblem::kSpanBlock / side) * heads;
    check(blocks < int64_t{1} << 31, "attention: {} tiles are more than a launch has", blocks);
    return dim3(static_cast<unsigned>(blocks));
}

} // namespace braid::ops::cuda
