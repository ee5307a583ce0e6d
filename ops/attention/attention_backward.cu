#include "ops/attention/attention_tensor_core_cuda.h"
#include "ops/attention/attention_tile_cuda.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

/// What backward reads of a call.
template <typename Stored>
struct BackwardInputs {
    using T = Accumulation<Stored>;
    HeadRows<const Stored> q, k, v, d_o;
    const T *row_max, *row_sum, *delta; // [T, Hq]
};

/// delta [T, Hq] = the sum over dv of d_o o, which is the softmax's sum over keys of p dp. A warp per row.
template <typename Stored>
void find_delta(const Tensor& o, const Tensor& d_o, const Tensor& delta) {
    using T = Accumulation<Stored>;
    const HeadRows<const Stored> left(o), right(d_o);
    T* out = delta.data<T>();
    const int64_t heads = o.dim(1);
    for_each_row(delta, o.dim(0) * heads, [=] __device__(int64_t row, int lane) {
        const Stored *a = left(row / heads, row % heads), *b = right(row / heads, row % heads);
        T sum = 0;
        for (int c = lane; c < left.size; c += kWarp) sum += load(a[c]) * load(b[c]);
        sum = warp_sum(sum);
        if (lane == 0) out[row] = sum;
    });
}

/// Of a tile of queries by one of keys: p, the softmax given its statistics, and ds = p (dp - delta), the
/// gradient of the logits. `s` comes with the logits, `ds` with dp. `token` is the first query's row.
template <typename Stored, int kSide>
__device__ __forceinline__ void find_logit_gradient(const Spans& spans, const BackwardInputs<Stored>& x,
                                                    int64_t token, int64_t head, int64_t position,
                                                    int64_t rows, int64_t key,
                                                    Square<Accumulation<Stored>, kSide>& s,
                                                    Square<Accumulation<Stored>, kSide>& ds) {
    using T = Accumulation<Stored>;
    using Logits = Square<T, kSide>;
#pragma unroll
    for (int i = 0; i < Logits::kHeld; ++i) {
        const bool exists = Logits::row(i) < rows;
        const int64_t at = (token + Logits::row(i)) * spans.heads + head;
        const T top = exists ? x.row_max[at] : 0, inverse_sum = exists ? 1 / x.row_sum[at] : 0,
                delta = exists ? x.delta[at] : 0;
#pragma unroll
        for (int j = 0; j < Logits::kHeld; ++j) {
            const bool seen = exists && spans.sees(position + Logits::row(i), key + Logits::column(j));
            const T p = seen ? exp(s.at[i][j] - top) * inverse_sum : T(0);
            s.at[i][j] = p;
            ds.at[i][j] = seen ? p * (ds.at[i][j] - delta) : T(0);
        }
    }
}

template <typename T, int kSide>
struct Ones {
    T at[kSide / 16];
    __device__ __forceinline__ Ones() {
#pragma unroll
        for (T& one : at) one = 1;
    }
};

/// out rows (first token on, head) = factor times the sums that threads hold, rounded once.
template <int kSide, typename Stored, typename T>
__device__ __forceinline__ void write_tile(const T* sum, T factor, const HeadRows<Stored>& out, int64_t token,
                                           int64_t head, int rows) {
    for (int first = 0; first < out.size; first += kSide)
        for_held<T, kSide>(out.size, first, [&](int, int, int row, int column) {
            if (row < rows)
                out(token + row, head)[column] =
                    static_cast<Stored>(factor * sum[row * pitch_of(out.size) + column]);
        });
}

/// A block per tile of queries and head, which meets the keys it sees in ascending order; shared memory holds
/// tiles of q, d_o, k, v, dq, and the gradient of the logits.
template <typename Stored, int kSide>
__global__ void __launch_bounds__(kThreads)
    query_gradient_kernel(Spans spans, BackwardInputs<Stored> x, HeadRows<Stored> dq) {
    using T = Accumulation<Stored>;
    const int64_t head = blockIdx.x % spans.heads, kv_head = head / spans.group;
    const SpanTile tile =
        find_span_tile<kSide, false>(spans, gridDim.x / spans.heads - 1 - blockIdx.x / spans.heads);
    if (tile.rows <= 0) return;
    const int d = x.q.size, dv = x.v.size;
    T* const q_tile = dynamic_shared<T>();
    T* const k_tile = q_tile + kSide * pitch_of(d);
    T* const dq_tile = k_tile + kSide * pitch_of(d);
    T* const v_tile = dq_tile + kSide * pitch_of(d);
    T* const d_o_tile = v_tile + kSide * pitch_of(dv);
    T* const ds_tile = d_o_tile + kSide * pitch_of(dv);

    const int64_t token = tile.query_begin + tile.first, position = tile.offset() + tile.first;
    const T scale = static_cast<T>(spans.scale);
    load_tile<kSide>(x.q(token, head), x.q.stride, tile.rows, d, scale, q_tile);
    load_tile<kSide>(x.d_o(token, head), x.d_o.stride, tile.rows, dv, T(1), d_o_tile);
    clear<kSide>(d, dq_tile);
    for (int64_t key = spans.first_key(position) / kSide * kSide; key < position + tile.rows; key += kSide) {
        const int64_t first = tile.key_begin + key, keys = tile.num_keys - key;
        load_tile<kSide>(x.k(first, kv_head), x.k.stride, keys, d, T(1), k_tile);
        load_tile<kSide>(x.v(first, kv_head), x.v.stride, keys, dv, T(1), v_tile);
        __syncthreads();
        Square<T, kSide> s, ds;
        s.add_rows_by_rows(q_tile, k_tile, d);
        ds.add_rows_by_rows(d_o_tile, v_tile, dv);
        find_logit_gradient(spans, x, token, head, position, tile.rows, key, s, ds);
        ds.store(ds_tile);
        __syncthreads();
        accumulate<false, kSide>(ds_tile, k_tile, d, Ones<T, kSide>().at, dq_tile);
        __syncthreads();
    }
    write_tile<kSide>(dq_tile, scale, dq, token, head, tile.rows);
}

/// A block per tile of keys and key head, which meets the queries that see it: head by head of its group, in
/// ascending order. Shared memory holds tiles of k, v, dk, dv, q, d_o, and p or the gradient of the logits.
template <typename Stored, int kSide>
__global__ void __launch_bounds__(kThreads)
    key_gradient_kernel(Spans spans, BackwardInputs<Stored> x, HeadRows<Stored> dk, HeadRows<Stored> dv) {
    using T = Accumulation<Stored>;
    const int64_t kv_heads = spans.heads / spans.group, kv_head = blockIdx.x % kv_heads;
    const SpanTile tile = find_span_tile<kSide, true>(spans, blockIdx.x / kv_heads);
    if (tile.rows <= 0) return;
    const int key_size = x.k.size, value_size = x.v.size;
    T* const k_tile = dynamic_shared<T>();
    T* const q_tile = k_tile + kSide * pitch_of(key_size);
    T* const dk_tile = q_tile + kSide * pitch_of(key_size);
    T* const v_tile = dk_tile + kSide * pitch_of(key_size);
    T* const d_o_tile = v_tile + kSide * pitch_of(value_size);
    T* const dv_tile = d_o_tile + kSide * pitch_of(value_size);
    T* const square = dv_tile + kSide * pitch_of(value_size);

    const int64_t token = tile.key_begin + tile.first;
    load_tile<kSide>(x.k(token, kv_head), x.k.stride, tile.rows, key_size, T(1), k_tile);
    load_tile<kSide>(x.v(token, kv_head), x.v.stride, tile.rows, value_size, T(1), v_tile);
    clear<kSide>(key_size, dk_tile);
    clear<kSide>(value_size, dv_tile);
    const int64_t offset = tile.offset(), end_seen = tile.first + tile.rows - 1 + spans.window,
                  end = (spans.window && end_seen < tile.num_keys ? end_seen : tile.num_keys) - offset;
    const int64_t begin = tile.first > offset ? (tile.first - offset) / kSide * kSide : 0;
    for (int64_t head = kv_head * spans.group; head < (kv_head + 1) * spans.group; ++head)
        for (int64_t query = begin; query < end; query += kSide) {
            const int64_t first = tile.query_begin + query, rows = tile.num_queries - query;
            load_tile<kSide>(x.q(first, head), x.q.stride, rows, key_size, static_cast<T>(spans.scale),
                             q_tile);
            load_tile<kSide>(x.d_o(first, head), x.d_o.stride, rows, value_size, T(1), d_o_tile);
            __syncthreads();
            Square<T, kSide> s, ds;
            s.add_rows_by_rows(q_tile, k_tile, key_size);
            ds.add_rows_by_rows(d_o_tile, v_tile, value_size);
            find_logit_gradient(spans, x, first, head, offset + query, rows, tile.first, s, ds);
            s.store(square);
            __syncthreads();
            accumulate<true, kSide>(square, d_o_tile, value_size, Ones<T, kSide>().at, dv_tile);
            __syncthreads();
            ds.store(square);
            __syncthreads();
            accumulate<true, kSide>(square, q_tile, key_size, Ones<T, kSide>().at, dk_tile);
            __syncthreads();
        }
    write_tile<kSide>(dk_tile, T(1), dk, token, kv_head, tile.rows);
    write_tile<kSide>(dv_tile, T(1), dv, token, kv_head, tile.rows);
}

template <typename Stored>
void run_backward(const AttentionProblem& problem, const Spans& spans, const BackwardInputs<Stored>& x,
                  const Tensor& dq, const Tensor& dk, const Tensor& dv) {
    using T = Accumulation<Stored>;
    const int64_t key_row = pitch_of(x.k.size), value_row = pitch_of(x.v.size);
    dispatch_side<T>(x.k.size, x.v.size, {3 * key_row + 2 * value_row}, [&]<int kSide>(size_t bytes) {
        launch(query_gradient_kernel<Stored, kSide>, tile_grid(problem.num_query_blocks, kSide, dq.dim(1)),
               kThreads, bytes, dq, spans, x, HeadRows<Stored>(dq));
    });
    dispatch_side<T>(x.k.size, x.v.size, {3 * key_row + 3 * value_row}, [&]<int kSide>(size_t bytes) {
        launch(key_gradient_kernel<Stored, kSide>, tile_grid(problem.num_key_blocks, kSide, dk.dim(1)),
               kThreads, bytes, dk, spans, x, HeadRows<Stored>(dk), HeadRows<Stored>(dv));
    });
}

} // namespace

void attention_backward(Allocator& allocator, const AttentionProblem& problem, const Tensor& q,
                        const Tensor& k, const Tensor& v, const Tensor& o, const Tensor& row_max,
                        const Tensor& row_sum, const Tensor& d_o, const Tensor& dq, const Tensor& dk,
                        const Tensor& dv) {
    const Tensor delta = Tensor::empty(allocator, row_max.shape(), row_max.dtype());
    dispatch_storage(q.dtype(), [&]<typename Stored>() {
        using T = Accumulation<Stored>;
        find_delta<Stored>(o, d_o, delta);
        if constexpr (std::is_same_v<Stored, bf16>)
            if (tensor_core_attention_backward(problem, q, k, v, row_max, row_sum, delta, d_o, dq, dk, dv))
                return;
        using Rows = HeadRows<const Stored>;
        run_backward<Stored>(
            problem, Spans(problem, q, k),
            {Rows(q), Rows(k), Rows(v), Rows(d_o), row_max.data<T>(), row_sum.data<T>(), delta.data<T>()}, dq,
            dk, dv);
    });
}

} // namespace braid::ops::cuda
