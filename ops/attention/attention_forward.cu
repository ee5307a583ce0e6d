#include "ops/attention/attention_tensor_core_cuda.h"
#include "ops/attention/attention_tile_cuda.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

/// The online softmax of the rows that a thread shares with 15 others.
template <typename T, int kSide>
struct OnlineSoftmax {
    using Logits = Square<T, kSide>;
    T max[Logits::kHeld], sum[Logits::kHeld], factor[Logits::kHeld];

    __device__ __forceinline__ OnlineSoftmax() {
#pragma unroll
        for (int i = 0; i < Logits::kHeld; ++i) max[i] = -std::numeric_limits<T>::infinity(), sum[i] = 0;
    }

    /// s becomes e^(s - max) where visible and 0 elsewhere; `factor` is what sums so far are to be multiplied
    /// by. Queries stand at positions from `position` on, keys from `key` on.
    __device__ __forceinline__ void add(const Spans& spans, int64_t position, int rows, int64_t key,
                                        Logits& s) {
#pragma unroll
        for (int i = 0; i < Logits::kHeld; ++i) {
            const int64_t at = position + Logits::row(i);
            const bool sees_any =
                Logits::row(i) < rows && at >= key && spans.first_key(at) < key + kSide; // alike on all 16
            T top = max[i];
#pragma unroll
            for (int j = 0; j < Logits::kHeld; ++j)
                if (sees_any && spans.sees(at, key + Logits::column(j)) && s.at[i][j] > top) top = s.at[i][j];
            top = row_max(top);
            factor[i] = top == max[i] ? T(1) : exp(max[i] - top);
            T part = 0;
#pragma unroll
            for (int j = 0; j < Logits::kHeld; ++j) {
                T& p = s.at[i][j];
                p = sees_any && spans.sees(at, key + Logits::column(j)) ? exp(p - top) : T(0);
                part += p;
            }
            sum[i] = factor[i] * sum[i] + row_sum(part);
            max[i] = top;
        }
    }
};

/// A block per tile of queries and head; shared memory holds tiles of q, of k or v, of o, and the softmax.
template <typename Stored, int kSide>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(Spans spans, HeadRows<const Stored> q, HeadRows<const Stored> k, HeadRows<const Stored> v,
                   Stored* o, Accumulation<Stored>* row_max, Accumulation<Stored>* row_sum) {
    using T = Accumulation<Stored>;
    // Later tiles see more keys: they go first, so that blocks end together.
    const int64_t head = blockIdx.x % spans.heads, kv_head = head / spans.group;
    const SpanTile tile =
        find_span_tile<kSide, false>(spans, gridDim.x / spans.heads - 1 - blockIdx.x / spans.heads);
    if (tile.rows <= 0) return;
    T* const q_tile = dynamic_shared<T>();
    T* const kv_tile = q_tile + kSide * pitch_of(q.size);
    T* const o_tile = kv_tile + kSide * pitch_of(q.size > v.size ? q.size : v.size);
    T* const p_tile = o_tile + kSide * pitch_of(v.size);

    const int64_t token = tile.query_begin + tile.first, position = tile.offset() + tile.first;
    load_tile<kSide>(q(token, head), q.stride, tile.rows, q.size, static_cast<T>(spans.scale), q_tile);
    clear<kSide>(v.size, o_tile);
    OnlineSoftmax<T, kSide> softmax;
    for (int64_t key = spans.first_key(position) / kSide * kSide; key < position + tile.rows; key += kSide) {
        const int64_t keys = tile.num_keys - key;
        load_tile<kSide>(k(tile.key_begin + key, kv_head), k.stride, keys, k.size, T(1), kv_tile);
        __syncthreads();
        Square<T, kSide> s;
        s.add_rows_by_rows(q_tile, kv_tile, q.size);
        softmax.add(spans, position, tile.rows, key, s);
        s.store(p_tile);
        __syncthreads();
        load_tile<kSide>(v(tile.key_begin + key, kv_head), v.stride, keys, v.size, T(1), kv_tile);
        __syncthreads();
        accumulate<false, kSide>(p_tile, kv_tile, v.size, softmax.factor, o_tile);
        __syncthreads();
    }
    for (int first = 0; first < v.size; first += kSide)
        for_held<T, kSide>(v.size, first, [&](int i, int, int row, int column) {
            if (row < tile.rows)
                o[((token + row) * spans.heads + head) * v.size + column] =
                    static_cast<Stored>(o_tile[row * pitch_of(v.size) + column] / softmax.sum[i]);
        });
#pragma unroll
    for (int i = 0; i < Square<T, kSide>::kHeld; ++i) {
        const int row = Square<T, kSide>::row(i);
        if (threadIdx.x % 16 != 0 || row >= tile.rows) continue;
        row_max[(token + row) * spans.heads + head] = softmax.max[i];
        row_sum[(token + row) * spans.heads + head] = softmax.sum[i];
    }
}

template <typename Stored>
void run_forward(const AttentionProblem& problem, const Tensor& q, const Tensor& k, const Tensor& v,
                 const Tensor& o, const Tensor& row_max, const Tensor& row_sum) {
    using T = Accumulation<Stored>;
    const int64_t d = q.dim(2), dv = v.dim(2);
    const TileRow row{pitch_of(d) + pitch_of(std::max(d, dv)) + pitch_of(dv)};
    dispatch_side<T>(d, dv, row, [&]<int kSide>(size_t bytes) {
        launch(forward_kernel<Stored, kSide>, tile_grid(problem.num_query_blocks, kSide, q.dim(1)), kThreads,
               bytes, o, Spans(problem, q, k), HeadRows<const Stored>(q), HeadRows<const Stored>(k),
               HeadRows<const Stored>(v), o.data<Stored>(), row_max.data<T>(), row_sum.data<T>());
    });
}

} // namespace

void attention_forward(Allocator&, const AttentionProblem& problem, const Tensor& q, const Tensor& k,
                       const Tensor& v, const Tensor& o, const Tensor& row_max, const Tensor& row_sum) {
    if (q.dtype() == DType::bf16 && tensor_core_attention_forward(problem, q, k, v, o, row_max, row_sum))
        return;
    dispatch_storage(q.dtype(), [&]<typename T>() { run_forward<T>(problem, q, k, v, o, row_max, row_sum); });
}

} // namespace braid::ops::cuda
