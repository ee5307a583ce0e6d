#include <limits>

#include "ops/attention/attention_tensor_core_cuda.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

/// The online softmax of the two rows that a thread shares with three others.
struct OnlineSoftmax {
    float max[2], sum[2] = {0, 0};

    __device__ __forceinline__ OnlineSoftmax() { max[0] = max[1] = -std::numeric_limits<float>::infinity(); }

    /// s, the dot products of queries at positions from `position` on, `rows` of them, and keys from `key`
    /// on, becomes e^(scale s - max) where visible and 0 elsewhere; `o` comes to the new maximum.
    template <int kColumns>
    __device__ __forceinline__ void add(const Spans& spans, int64_t position, int rows, int64_t key,
                                        WarpMatrix<kTileRows>& s, WarpMatrix<kColumns>& o) {
        const auto scale = static_cast<float>(spans.scale);
        const bool all_seen = sees_all(spans, position, key);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int row = warp_first_row() + WarpMatrix<kTileRows>::row(2 * r);
            const auto is_seen = [&](int n, int c) {
                return all_seen || (row < rows && spans.sees(position + row, key + s.column(n, c)));
            };
            float top = max[r];
#pragma unroll
            for (int n = 0; n < s.kBlocks; ++n)
#pragma unroll
                for (int c = 0; c < 2; ++c) {
                    float& logit = s.at[n][2 * r + c];
                    logit *= scale;
                    if (is_seen(n, c) && logit > top) top = logit;
                }
            top = quad_max(top);
            const float factor = top == max[r] ? 1 : exp(max[r] - top);
            float part = 0;
#pragma unroll
            for (int n = 0; n < s.kBlocks; ++n)
#pragma unroll
                for (int c = 0; c < 2; ++c) {
                    float& p = s.at[n][2 * r + c];
                    p = is_seen(n, c) ? exp(p - top) : 0.f;
                    part += p;
                }
            sum[r] = factor * sum[r] + quad_sum(part);
            max[r] = top;
#pragma unroll
            for (int n = 0; n < o.kBlocks; ++n)
#pragma unroll
                for (int c = 0; c < 2; ++c) o.at[n][2 * r + c] *= factor;
        }
    }
};

/// A block per tile of queries and head; shared memory holds a tile of q and two each of k and v.
template <int kKeySize, int kValueSize>
__global__ void __launch_bounds__(kAttentionThreads)
    forward_kernel(Spans spans, HeadRows<const bf16> q, HeadRows<const bf16> k, HeadRows<const bf16> v,
                   bf16* o, float* row_max, float* row_sum) {
    // Later tiles see more keys: they go first, so that blocks end together.
    const int64_t head = blockIdx.x % spans.heads, kv_head = head / spans.group;
    const SpanTile tile =
        find_span_tile<kTileRows, false>(spans, gridDim.x / spans.heads - 1 - blockIdx.x / spans.heads);
    if (tile.rows <= 0) return;
    bf16* const q_tile = dynamic_shared<bf16>();
    bf16* const k_tiles = q_tile + kTileRows * kKeySize;
    bf16* const v_tiles = k_tiles + 2 * kTileRows * kKeySize;
    const int64_t token = tile.query_begin + tile.first, position = tile.offset() + tile.first;
    const int64_t begin = spans.first_key(position) / kTileRows * kTileRows, end = position + tile.rows;
    const auto fetch = [&](int64_t key) {
        if (key < end) {
            const int64_t half = (key - begin) / kTileRows % 2, keys = tile.num_keys - key;
            copy_heads<kKeySize>(k, tile.key_begin + key, kv_head, keys,
                                 k_tiles + half * kTileRows * kKeySize);
            copy_heads<kValueSize>(v, tile.key_begin + key, kv_head, keys,
                                   v_tiles + half * kTileRows * kValueSize);
        }
        end_copies(); // also of nothing: tiles are counted by groups
    };
    copy_heads<kKeySize>(q, token, head, tile.rows, q_tile);
    fetch(begin);
    OnlineSoftmax softmax;
    WarpMatrix<kValueSize> sums;
    for (int64_t key = begin; key < end; key += kTileRows) {
        fetch(key + kTileRows);
        wait_for_copies<1>();
        __syncthreads();
        const int64_t half = (key - begin) / kTileRows % 2;
        WarpMatrix<kTileRows> s;
        s.add_rows_by_rows(TensorCoreTile<kKeySize>(q_tile),
                           TensorCoreTile<kKeySize>(k_tiles + half * kTileRows * kKeySize));
        softmax.add(spans, position, tile.rows, key, s, sums);
        sums.add_product(s, TensorCoreTile<kValueSize>(v_tiles + half * kTileRows * kValueSize));
        __syncthreads(); // the tiles have been read
    }
    sums.for_each([&](int row, int column, float sum) {
        const int at = warp_first_row() + row;
        if (at < tile.rows && column < v.size)
            o[((token + at) * spans.heads + head) * v.size + column] =
                static_cast<bf16>(sum / softmax.sum[row / 8]);
    });
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const int row = warp_first_row() + sums.row(2 * r);
        if (threadIdx.x % 4 != 0 || row >= tile.rows) continue;
        row_max[(token + row) * spans.heads + head] = softmax.max[r];
        row_sum[(token + row) * spans.heads + head] = softmax.sum[r];
    }
}

} // namespace

bool tensor_core_attention_forward(const AttentionProblem& problem, const Tensor& q, const Tensor& k,
                                   const Tensor& v, const Tensor& o, const Tensor& row_max,
                                   const Tensor& row_sum) {
    return dispatch_head_sizes(q.dim(2), v.dim(2), [&]<int kKeySize, int kValueSize>() {
        const size_t bytes = sizeof(bf16) * kTileRows * (3 * kKeySize + 2 * kValueSize);
        if (static_cast<int64_t>(bytes) > most_shared_memory()) return false;
        using Rows = HeadRows<const bf16>;
        launch(forward_kernel<kKeySize, kValueSize>, tile_grid(problem.num_query_blocks, kTileRows, q.dim(1)),
               kAttentionThreads, bytes, o, Spans(problem, q, k), Rows(q), Rows(k), Rows(v), o.data<bf16>(),
               row_max.data<float>(), row_sum.data<float>());
        return true;
    });
}

} // namespace braid::ops::cuda
