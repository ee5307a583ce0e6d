#include "ops/attention/attention_tensor_core_cuda.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

/// What backward reads of a call.
struct BackwardInputs {
    HeadRows<const bf16> q, k, v, d_o;
    const float *row_max, *row_sum, *delta; // [T, Hq]; delta: the softmax's sum over keys of p dp
};

/// What is known of the queries of a tile, in shared memory; p is 0 for those that do not exist.
struct QueryStatistics {
    float max[kTileRows], inverse_sum[kTileRows], delta[kTileRows];

    __device__ __forceinline__ void load(const BackwardInputs& x, int64_t token, int64_t heads, int64_t head,
                                         int64_t rows) {
        for (int row = static_cast<int>(threadIdx.x); row < kTileRows; row += kAttentionThreads) {
            const bool exists = row < rows;
            const int64_t at = (token + row) * heads + head;
            max[row] = exists ? x.row_max[at] : 0;
            inverse_sum[row] = exists ? 1 / x.row_sum[at] : 0;
            delta[row] = exists ? x.delta[at] : 0;
        }
    }
};

/// out rows (first token on, head) = factor times this warp's sums, rounded once.
template <int kColumns>
__device__ __forceinline__ void write_rows(WarpMatrix<kColumns>& sums, float factor,
                                           const HeadRows<bf16>& out, int64_t token, int64_t head, int rows) {
    sums.for_each([&](int row, int column, float sum) {
        const int at = warp_first_row() + row;
        if (at < rows && column < out.size) out(token + at, head)[column] = static_cast<bf16>(factor * sum);
    });
}

/// A block per tile of queries and head, which meets the keys it sees in ascending order; shared memory holds
/// tiles of q and d_o, and kStages each of k and v. With two of them one is copied while the other is used,
/// with one each copy is waited for: the same sums in less memory.
template <int kKeySize, int kValueSize, int kStages>
__global__ void __launch_bounds__(kAttentionThreads)
    query_gradient_kernel(Spans spans, BackwardInputs x, HeadRows<bf16> dq) {
    __shared__ QueryStatistics statistics;
    const int64_t head = blockIdx.x % spans.heads, kv_head = head / spans.group;
    const SpanTile tile =
        find_span_tile<kTileRows, false>(spans, gridDim.x / spans.heads - 1 - blockIdx.x / spans.heads);
    if (tile.rows <= 0) return;
    bf16* const q_tile = dynamic_shared<bf16>();
    bf16* const d_o_tile = q_tile + kTileRows * kKeySize;
    bf16* const k_tiles = d_o_tile + kTileRows * kValueSize;
    bf16* const v_tiles = k_tiles + kStages * kTileRows * kKeySize;
    const int64_t token = tile.query_begin + tile.first, position = tile.offset() + tile.first;
    const int64_t begin = spans.first_key(position) / kTileRows * kTileRows, end = position + tile.rows;
    const auto fetch = [&](int64_t key) {
        if (key < end) {
            const int64_t half = (key - begin) / kTileRows % kStages, keys = tile.num_keys - key;
            copy_heads<kKeySize>(x.k, tile.key_begin + key, kv_head, keys,
                                 k_tiles + half * kTileRows * kKeySize);
            copy_heads<kValueSize>(x.v, tile.key_begin + key, kv_head, keys,
                                   v_tiles + half * kTileRows * kValueSize);
        }
        end_copies();
    };
    statistics.load(x, token, spans.heads, head, tile.rows);
    copy_heads<kKeySize>(x.q, token, head, tile.rows, q_tile);
    copy_heads<kValueSize>(x.d_o, token, head, tile.rows, d_o_tile);
    if constexpr (kStages > 1) fetch(begin);
    const auto scale = static_cast<float>(spans.scale);
    WarpMatrix<kKeySize> sums;
    for (int64_t key = begin; key < end; key += kTileRows) {
        fetch(key + (kStages - 1) * kTileRows);
        wait_for_copies<kStages - 1>();
        __syncthreads();
        const int64_t half = (key - begin) / kTileRows % kStages;
        const TensorCoreTile<kKeySize> k_tile(k_tiles + half * kTileRows * kKeySize);
        WarpMatrix<kTileRows> s, ds;
        s.add_rows_by_rows(TensorCoreTile<kKeySize>(q_tile), k_tile);
        ds.add_rows_by_rows(TensorCoreTile<kValueSize>(d_o_tile),
                            TensorCoreTile<kValueSize>(v_tiles + half * kTileRows * kValueSize));
        const bool all_seen = sees_all(spans, position, key);
#pragma unroll
        for (int n = 0; n < s.kBlocks; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int row = warp_first_row() + s.row(i);
                const bool seen =
                    all_seen || (row < tile.rows && spans.sees(position + row, key + s.column(n, i)));
                const float p =
                    seen ? exp(scale * s.at[n][i] - statistics.max[row]) * statistics.inverse_sum[row] : 0.f;
                ds.at[n][i] = p * (ds.at[n][i] - statistics.delta[row]);
            }
        sums.add_product(ds, k_tile);
        __syncthreads();
    }
    write_rows(sums, scale, dq, token, head, tile.rows);
}

/// A block per tile of keys and key head, which meets the queries that see it: head by head of its group, in
/// ascending order. Shared memory holds tiles of k and v, and kStages each of q and d_o. Products have keys
/// as rows and queries as columns. Of large heads dk and dv (kKeys, kValues) do not fit the registers
/// together.
template <int kKeySize, int kValueSize, int kStages, bool kKeys, bool kValues>
__global__ void __launch_bounds__(kAttentionThreads)
    key_gradient_kernel(Spans spans, BackwardInputs x, HeadRows<bf16> dk, HeadRows<bf16> dv) {
    __shared__ QueryStatistics statistics[kStages];
    const int64_t kv_heads = spans.heads / spans.group, kv_head = blockIdx.x % kv_heads;
    const SpanTile tile = find_span_tile<kTileRows, true>(spans, blockIdx.x / kv_heads);
    if (tile.rows <= 0) return;
    bf16* const k_tile = dynamic_shared<bf16>();
    bf16* const v_tile = k_tile + kTileRows * kKeySize;
    bf16* const q_tiles = v_tile + kTileRows * kValueSize;
    bf16* const d_o_tiles = q_tiles + kStages * kTileRows * kKeySize;

    const int64_t token = tile.key_begin + tile.first, offset = tile.offset();
    const int64_t end_seen = tile.first + tile.rows - 1 + spans.window,
                  end = (spans.window && end_seen < tile.num_keys ? end_seen : tile.num_keys) - offset;
    const int64_t begin = tile.first > offset ? (tile.first - offset) / kTileRows * kTileRows : 0;
    // Tiles of queries, head by head.
    const int64_t per_head = end > begin ? (end - begin + kTileRows - 1) / kTileRows : 0,
                  count = per_head * spans.group;
    const auto fetch = [&](int64_t number) {
        if (number < count) {
            const int64_t head = kv_head * spans.group + number / per_head,
                          query = begin + number % per_head * kTileRows, first = tile.query_begin + query,
                          rows = tile.num_queries - query;
            copy_heads<kKeySize>(x.q, first, head, rows, q_tiles + number % kStages * kTileRows * kKeySize);
            copy_heads<kValueSize>(x.d_o, first, head, rows,
                                   d_o_tiles + number % kStages * kTileRows * kValueSize);
            statistics[number % kStages].load(x, first, spans.heads, head, rows);
        }
        end_copies();
    };
    copy_heads<kKeySize>(x.k, token, kv_head, tile.rows, k_tile);
    copy_heads<kValueSize>(x.v, token, kv_head, tile.rows, v_tile);
    if constexpr (kStages > 1) fetch(0);
    const auto scale = static_cast<float>(spans.scale);
    WarpMatrix<kKeys ? kKeySize : 64> key_sums;
    WarpMatrix<kValues ? kValueSize : 64> value_sums;
    for (int64_t number = 0; number < count; ++number) {
        fetch(number + kStages - 1);
        wait_for_copies<kStages - 1>();
        __syncthreads();
        const TensorCoreTile<kKeySize> q_tile(q_tiles + number % kStages * kTileRows * kKeySize);
        const TensorCoreTile<kValueSize> d_o_tile(d_o_tiles + number % kStages * kTileRows * kValueSize);
        const QueryStatistics& of_query = statistics[number % kStages];
        const int64_t position = offset + begin + number % per_head * kTileRows;
        WarpMatrix<kTileRows> p;
        p.add_rows_by_rows(TensorCoreTile<kKeySize>(k_tile), q_tile);
        const bool all_seen = sees_all(spans, position, tile.first);
#pragma unroll
        for (int n = 0; n < p.kBlocks; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int key = warp_first_row() + p.row(i), query = p.column(n, i);
                const bool seen = all_seen || spans.sees(position + query, tile.first + key);
                p.at[n][i] =
                    seen ? exp(scale * p.at[n][i] - of_query.max[query]) * of_query.inverse_sum[query] : 0.f;
            }
        if constexpr (kValues) value_sums.add_product(p, d_o_tile);
        if constexpr (kKeys) {
            WarpMatrix<kTileRows> ds;
            ds.add_rows_by_rows(TensorCoreTile<kValueSize>(v_tile), d_o_tile);
#pragma unroll
            for (int n = 0; n < p.kBlocks; ++n)
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    ds.at[n][i] = p.at[n][i] * (ds.at[n][i] - of_query.delta[p.column(n, i)]);
            key_sums.add_product(ds, q_tile);
        }
        __syncthreads();
    }
    if constexpr (kKeys) write_rows(key_sums, scale, dk, token, kv_head, tile.rows);
    if constexpr (kValues) write_rows(value_sums, 1, dv, token, kv_head, tile.rows);
}

/// Dynamic shared memory of the kernels.
constexpr int64_t shared_bytes(int key_size, int value_size, int stages) {
    return int64_t{sizeof(bf16)} * kTileRows * (1 + stages) * (key_size + value_size);
}

template <int kKeySize, int kValueSize, int kStages>
void run_backward(const AttentionProblem& problem, const Spans& spans, const BackwardInputs& x,
                  const Tensor& dq, const Tensor& dk, const Tensor& dv) {
    constexpr auto bytes = static_cast<size_t>(shared_bytes(kKeySize, kValueSize, kStages));
    launch(query_gradient_kernel<kKeySize, kValueSize, kStages>,
           tile_grid(problem.num_query_blocks, kTileRows, dq.dim(1)), kAttentionThreads, bytes, dq, spans, x,
           HeadRows<bf16>(dq));
    const dim3 grid = tile_grid(problem.num_key_blocks, kTileRows, dk.dim(1));
    const auto run_keys = [&](auto kernel) {
        launch(kernel, grid, kAttentionThreads, bytes, dk, spans, x, HeadRows<bf16>(dk), HeadRows<bf16>(dv));
    };
    if constexpr (kKeySize + kValueSize <= 256) {
        run_keys(key_gradient_kernel<kKeySize, kValueSize, kStages, true, true>);
    } else {
        run_keys(key_gradient_kernel<kKeySize, kValueSize, kStages, true, false>);
        run_keys(key_gradient_kernel<kKeySize, kValueSize, kStages, false, true>);
    }
}

} // namespace

bool tensor_core_attention_backward(const AttentionProblem& problem, const Tensor& q, const Tensor& k,
                                    const Tensor& v, const Tensor& row_max, const Tensor& row_sum,
                                    const Tensor& delta, const Tensor& d_o, const Tensor& dq,
                                    const Tensor& dk, const Tensor& dv) {
    using Rows = HeadRows<const bf16>;
    const Spans spans(problem, q, k);
    const BackwardInputs x{Rows(q),
                           Rows(k),
                           Rows(v),
                           Rows(d_o),
                           row_max.data<float>(),
                           row_sum.data<float>(),
                           delta.data<float>()};
    const int64_t most = most_shared_memory() - static_cast<int64_t>(2 * sizeof(QueryStatistics));
    return dispatch_head_sizes(q.dim(2), v.dim(2), [&]<int kKeySize, int kValueSize>() {
        if (shared_bytes(kKeySize, kValueSize, 2) <= most) {
            run_backward<kKeySize, kValueSize, 2>(problem, spans, x, dq, dk, dv);
            return true;
        }
        if constexpr (kKeySize + kValueSize == 512) // all others fit 163 KiB, what an sm_80 has
            if (shared_bytes(kKeySize, kValueSize, 1) <= most) {
                run_backward<kKeySize, kValueSize, 1>(problem, spans, x, dq, dk, dv);
                return true;
            }
        return false;
    });
}

} // namespace braid::ops::cuda
