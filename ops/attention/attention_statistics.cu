#include "ops/attention/attention_tile_cuda.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

/// What is known of a softmax after some of its logits s.
struct RowStatistics {
    double max = -std::numeric_limits<double>::infinity();
    double sum = 0;      // of e^(s - max)
    double weighted = 0; // of e^(s - max) (s - max)

    /// Brings the sums to another maximum.
    __device__ __forceinline__ void move_to(double top) {
        if (sum > 0) {
            const double shift = max - top, factor = exp(shift);
            weighted = factor * (weighted + shift * sum);
            sum *= factor;
        }
        max = top;
    }
    __device__ __forceinline__ void add(double s) {
        if (s > max) move_to(s);
        const double x = s - max, e = exp(x);
        sum += e;
        weighted += e * x;
    }
    /// Takes in those of the 15 other lanes that share the row, on all of them alike.
    __device__ __forceinline__ void join_row() {
        for (int lanes = 8; lanes > 0; lanes /= 2) {
            RowStatistics other;
            other.max = __shfl_xor_sync(0xffffffffu, max, lanes);
            other.sum = __shfl_xor_sync(0xffffffffu, sum, lanes);
            other.weighted = __shfl_xor_sync(0xffffffffu, weighted, lanes);
            const double top = other.max > max ? other.max : max;
            move_to(top);
            other.move_to(top);
            sum += other.sum;
            weighted += other.weighted;
        }
    }
    /// -sum p log p with p = s - max - log(sum).
    __device__ __forceinline__ double entropy() const { return log(sum) - weighted / sum; }
};

/// Of the rows of a tile of queries and a head, the highest logit and the sum of the entropies in the order
/// of the rows, into tops and entropies [tiles, Hq]. Shared memory holds tiles of q and k.
template <typename Stored, int kSide>
__global__ void __launch_bounds__(kThreads)
    statistics_kernel(Spans spans, HeadRows<const Stored> q, HeadRows<const Stored> k, double* tops,
                      double* entropies) {
    using T = Accumulation<Stored>;
    using Logits = Square<T, kSide>;
    __shared__ double row_top[kSide], row_entropy[kSide];
    const int64_t head = blockIdx.x % spans.heads, kv_head = head / spans.group;
    const SpanTile tile = find_span_tile<kSide, false>(spans, blockIdx.x / spans.heads);
    if (tile.rows <= 0) {
        if (threadIdx.x == 0)
            tops[blockIdx.x] = -std::numeric_limits<double>::infinity(), entropies[blockIdx.x] = 0;
        return;
    }
    T* const q_tile = dynamic_shared<T>();
    T* const k_tile = q_tile + kSide * pitch_of(q.size);
    const int64_t token = tile.query_begin + tile.first, position = tile.offset() + tile.first;
    load_tile<kSide>(q(token, head), q.stride, tile.rows, q.size, static_cast<T>(spans.scale), q_tile);
    RowStatistics rows[Logits::kHeld];
    for (int64_t key = spans.first_key(position) / kSide * kSide; key < position + tile.rows; key += kSide) {
        load_tile<kSide>(k(tile.key_begin + key, kv_head), k.stride, tile.num_keys - key, k.size, T(1),
                         k_tile);
        __syncthreads();
        Logits s;
        s.add_rows_by_rows(q_tile, k_tile, q.size);
        for (int i = 0; i < Logits::kHeld; ++i)
            for (int j = 0; j < Logits::kHeld; ++j)
                if (Logits::row(i) < tile.rows &&
                    spans.sees(position + Logits::row(i), key + Logits::column(j)))
                    rows[i].add(static_cast<double>(s.at[i][j]));
        __syncthreads();
    }
    for (int i = 0; i < Logits::kHeld; ++i) {
        rows[i].join_row();
        if (threadIdx.x % 16 != 0) continue;
        row_top[Logits::row(i)] = rows[i].max;
        row_entropy[Logits::row(i)] = rows[i].entropy();
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int row = 0; row < tile.rows; ++row) {
        if (row_top[row] > top) top = row_top[row];
        sum += row_entropy[row];
    }
    tops[blockIdx.x] = top;
    entropies[blockIdx.x] = sum;
}

/// max_logit and mean_entropy [Hq] from those of the tiles, in their order.
void join_tiles(const Tensor& tops, const Tensor& entropies, int64_t tokens, const Tensor& max_logit,
                const Tensor& mean_entropy) {
    const double *top = tops.data<double>(), *entropy = entropies.data<double>();
    double *max = max_logit.data<double>(), *mean = mean_entropy.data<double>();
    const int64_t tiles = tops.dim(0), heads = tops.dim(1);
    for_each(max_logit, heads, [=] __device__(int64_t head) {
        double highest = -std::numeric_limits<double>::infinity(), sum = 0;
        for (int64_t tile = 0; tile < tiles; ++tile) {
            if (top[tile * heads + head] > highest) highest = top[tile * heads + head];
            sum += entropy[tile * heads + head];
        }
        max[head] = highest;
        mean[head] = sum / static_cast<double>(tokens > 0 ? tokens : 1);
    });
}

} // namespace

void attention_statistics(Allocator& allocator, const AttentionProblem& problem, const Tensor& q,
                          const Tensor& k, const Tensor& max_logit, const Tensor& mean_entropy) {
    dispatch_storage(q.dtype(), [&]<typename Stored>() {
        const TileRow row{.elements = 2 * pitch_of(q.dim(2)), .static_bytes = 2 * sizeof(double)};
        dispatch_side<Accumulation<Stored>>(q.dim(2), q.dim(2), row, [&]<int kSide>(size_t bytes) {
            const int64_t tiles = problem.num_query_blocks * (AttentionProblem::kSpanBlock / kSide);
            const Tensor tops = Tensor::empty(allocator, {tiles, q.dim(1)}, DType::f64),
                         entropies = Tensor::empty(allocator, {tiles, q.dim(1)}, DType::f64);
            launch(statistics_kernel<Stored, kSide>, tile_grid(problem.num_query_blocks, kSide, q.dim(1)),
                   kThreads, bytes, tops, Spans(problem, q, k), HeadRows<const Stored>(q),
                   HeadRows<const Stored>(k), tops.data<double>(), entropies.data<double>());
            join_tiles(tops, entropies, q.dim(0), max_logit, mean_entropy);
        });
    });
}

} // namespace braid::ops::cuda
