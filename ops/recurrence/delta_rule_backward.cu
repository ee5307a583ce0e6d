#include "ops/recurrence/delta_scan_cuda.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

// The formulas are those of ops/recurrence/delta_rule_backward_cpu.cpp. What differs is the way to states:
// every chunk's share of them is a product of its own, so that the scan over chunks has less left to do.

/// What backward works on beside the inputs. T: the type of sums and states.
template <typename Stored>
struct DeltaBackward {
    using T = Accumulation<Stored>;

    const T* corrected;     // V' [H_v, T, d_v]
    const Stored* d_output; // dO [T, H_v, d_v]
    T* errors;              // [H_v, T, d_v]: dV', then Y
    T *states, *d_states;   // [num_states, H_v, d_k, d_v]: S and dS between chunks, first each chunk's share
    T* totals;              // [num_states, H_v]: e^{b_L} of the chunk before the state
    T *query_weights, *key_weights; // [chunks, H_k, 64, 64]: sums over value heads: scale E; diag(beta) Gamma
    Stored *dq, *dk;
    T *dg, *dbeta; // [T, H_v]; dg may be null, and holds db until the end
};

/// dV' = tril(scale Q Kᵀ ⊙ D)ᵀ dO.
template <typename Stored>
__global__ void __launch_bounds__(kTileThreads)
    error_kernel(DeltaView<Stored> view, DeltaBackward<Stored> grad) {
    using T = Accumulation<Stored>;
    __shared__ ChunkGates<T> gates;
    T* work = dynamic_shared<T>();
    T *rows = work, *weights = work + 2 * kSide * kPitch;
    const Chunk chunk = view.chunks[blockIdx.x / view.num_value_heads];
    const int64_t head = blockIdx.x % view.num_value_heads;
    const int length = static_cast<int>(chunk.length);
    gates.load(view, chunk, head);
    make_output_weights(view, chunk, head, gates, work, weights);
    for (int column = 0; column < view.value_dim; column += kSide) {
        const int width = tile_extent(view.value_dim, column);
        load_square(grad.d_output + view.output_at(chunk.first_token, head) + column, view.output_stride(),
                    length, width, rows);
        __syncthreads();
        Tile<T> sum;
        sum.add_transposed_product(padded_depth(length), weights, kPitch, rows, kPitch);
        __syncthreads();
        T* out = grad.errors + view.corrected_at(chunk.first_token, head) + column;
        sum.for_each([&](int i, int j, T value) {
            if (i < length && j < width) out[static_cast<int64_t>(i) * view.value_dim + j] = value;
        });
    }
}

/// out [d_k, d_v] = (diag(factor) x)ᵀ y for a chunk, in squares that the blocks of grid.y share out.
template <typename T, typename Rows, typename Values>
__device__ void write_share(int length, int key_dim, int value_dim, const Rows* x, int64_t x_stride,
                            const T* factor, const Values* y, int64_t y_stride, T* work, T* out) {
    T *left = work, *right = work + kSide * kPitch;
    const int across = (value_dim + kSide - 1) / kSide, squares = (key_dim + kSide - 1) / kSide * across;
    for (int square = static_cast<int>(blockIdx.y); square < squares; square += static_cast<int>(gridDim.y)) {
        const int row = square / across * kSide, column = square % across * kSide;
        const int height = tile_extent(key_dim, row), width = tile_extent(value_dim, column);
        __syncthreads();
        load_square(x + row, x_stride, length, height, left);
        load_square(y + column, y_stride, length, width, right);
        __syncthreads();
        for (int e = static_cast<int>(threadIdx.x); e < kSide * kSide; e += kTileThreads)
            right[e / kSide * kPitch + e % kSide] *= factor[e / kSide];
        __syncthreads();
        Tile<T> sum;
        sum.add_transposed_product(padded_depth(length), left, kPitch, right, kPitch);
        sum.for_each([&](int i, int j, T value) {
            if (i < height && j < width) out[static_cast<int64_t>(row + i) * value_dim + column + j] = value;
        });
    }
}

/// What a chunk adds to the state after it, K^ᵀ V', and to the gradient of the state before it,
/// scale (diag(e^b) Q)ᵀ dO.
template <typename Stored>
__global__ void __launch_bounds__(kTileThreads)
    share_kernel(DeltaView<Stored> view, DeltaBackward<Stored> grad) {
    using T = Accumulation<Stored>;
    __shared__ ChunkGates<T> gates;
    __shared__ T factor[kSide];
    T* work = dynamic_shared<T>();
    const Chunk chunk = view.chunks[blockIdx.x / view.num_value_heads];
    const int64_t head = blockIdx.x % view.num_value_heads, key_head = head / view.heads_per_key;
    const int length = static_cast<int>(chunk.length);
    const int64_t first = chunk.first_token;
    if (chunk.state_in < 0 && chunk.state_out < 0) return;
    gates.load(view, chunk, head);
    if (chunk.state_out >= 0) {
        if (blockIdx.y == 0 && threadIdx.x == 0)
            grad.totals[chunk.state_out * view.num_value_heads + head] = gates.total;
        write_share(length, view.key_dim, view.value_dim, view.key(first, key_head), view.k_stride,
                    gates.to_end, grad.corrected + view.corrected_at(first, head), view.value_dim, work,
                    grad.states + view.state_at(chunk.state_out, head));
    }
    if (chunk.state_in < 0) return;
    for (int i = static_cast<int>(threadIdx.x); i < kSide; i += kTileThreads)
        factor[i] = view.scale * gates.from_start[i];
    write_share(length, view.key_dim, view.value_dim, view.query(first, key_head), view.q_stride, factor,
                grad.d_output + view.output_at(first, head), view.output_stride(), work,
                grad.d_states + view.state_at(chunk.state_in, head));
}

/// The states between chunks, from their shares: S_1 = e^{b_L} S_0 + K^ᵀ V', each element by one thread.
template <typename Stored>
__global__ void carry_kernel(DeltaView<Stored> view, DeltaBackward<Stored> grad) {
    using T = Accumulation<Stored>;
    const int64_t document = blockIdx.x / view.num_value_heads, head = blockIdx.x % view.num_value_heads;
    const int64_t begin = view.document_chunks[document], end = view.document_chunks[document + 1];
    const int64_t elements = static_cast<int64_t>(view.key_dim) * view.value_dim;
    for (int64_t e = blockIdx.y * static_cast<int64_t>(blockDim.x) + threadIdx.x; e < elements;
         e += static_cast<int64_t>(gridDim.y) * blockDim.x) {
        const int64_t initial = begin < end ? view.chunks[begin].state_in : -1;
        T state = initial >= 0 ? grad.states[view.state_at(initial, head) + e] : T(0);
        for (int64_t c = begin; c + 1 < end; ++c) { // nobody reads what the last chunk leaves
            const int64_t index = view.chunks[c].state_out;
            T& share = grad.states[view.state_at(index, head) + e];
            state = c == begin && initial < 0
                        ? share
                        : grad.totals[index * view.num_value_heads + head] * state + share;
            share = state;
        }
    }
}

/// Sums of one chunk and value head in shared memory.
template <typename T>
struct ChunkSums {
    T d_beta[kSide], d_sum[kSide]; // d_sum: the gradient of b
    T next[kSide];                 // of b_L, from the state after the chunk
    T columns[kTileThreads / 16][kSide];

    __device__ void clear() {
        __syncthreads();
        for (int i = static_cast<int>(threadIdx.x); i < kSide; i += kTileThreads)
            d_beta[i] = d_sum[i] = next[i] = 0;
        __syncthreads();
    }
};

/// E = dO V'ᵀ or Gamma = -Y V'ᵀ (which differ in their factor and in whether they have a diagonal): its sum
/// over value heads, and what it gives to dbeta and db. products: this thread's elements of Q Kᵀ or K Kᵀ.
template <bool kKeys, typename Stored, typename T = Accumulation<Stored>>
__device__ void add_within_chunk(const DeltaView<Stored>& view, const ChunkGates<T>& gates, int length,
                                 Tile<T>& outer, const T* products, bool is_first_head, T* weights,
                                 ChunkSums<T>& sums) {
    T column_terms[Tile<T>::kPerRow] = {};
#pragma unroll
    for (int r = 0; r < Tile<T>::kRows; ++r) {
        const int i = outer.row(r);
        T terms = 0, beta_terms = 0;
#pragma unroll
        for (int c = 0; c < Tile<T>::kPerRow; ++c) {
            const int j = outer.column(c), element = r * Tile<T>::kPerRow + c;
            T weight = 0, term = 0;
            if (i < length && j + kKeys <= i) {
                weight = (kKeys ? T(-1) : view.scale) * gates.between(i, j) * outer.sum[r][c];
                term = weight * products[element * kTileThreads];
                if (kKeys) {
                    beta_terms += term;
                    weight *= gates.beta[i];
                    term *= gates.beta[i];
                }
                if (i == j) term = 0; // the diagonal of E gives equal amounts to both ends of b_i - b_i
            }
            terms += term;
            column_terms[c] += term;
            T& total = weights[i * kSide + j];
            total = is_first_head ? weight : total + weight;
        }
        terms = row_sum(terms);
        beta_terms = row_sum(beta_terms);
        if (threadIdx.x % 16 == 0) {
            sums.d_sum[i] += terms;
            sums.d_beta[i] += beta_terms;
        }
    }
#pragma unroll
    for (int c = 0; c < Tile<T>::kPerRow; ++c)
        sums.columns[threadIdx.x / 16][outer.column(c)] = column_terms[c];
    __syncthreads();
    for (int j = static_cast<int>(threadIdx.x); j < kSide; j += kTileThreads)
        for (int group = 0; group < kTileThreads / 16; ++group) sums.d_sum[j] -= sums.columns[group][j];
    __syncthreads();
}

/// The weights of a chunk and key head, and the parts of dbeta and db that do not come through states. Blocks
/// take one chunk and key head each.
template <typename Stored>
__global__ void __launch_bounds__(kTileThreads)
    weights_kernel(DeltaView<Stored> view, DeltaBackward<Stored> grad) {
    using T = Accumulation<Stored>;
    __shared__ ChunkGates<T> gates;
    __shared__ ChunkSums<T> sums;
    T* work = dynamic_shared<T>();
    // [2][32][kTileThreads]: every thread's own elements of Q Kᵀ and K Kᵀ
    T* products = work + 2 * kSide * kPitch + threadIdx.x;
    constexpr int kOwn = kSide * kSide;
    const int64_t key_head = blockIdx.x % view.num_key_heads;
    const Chunk chunk = view.chunks[blockIdx.x / view.num_key_heads];
    const int length = static_cast<int>(chunk.length);
    const int64_t first = chunk.first_token, squares = static_cast<int64_t>(blockIdx.x) * kSide * kSide;
    for (const bool keys : {false, true}) {
        Tile<T> product;
        const Stored* left = keys ? view.key(first, key_head) : view.query(first, key_head);
        const int64_t stride = keys ? view.k_stride : view.q_stride;
        add_rows_product(product, view.key_dim, left, stride, length, view.key(first, key_head),
                         view.k_stride, length, work);
#pragma unroll
        for (int r = 0; r < Tile<T>::kRows; ++r)
#pragma unroll
            for (int c = 0; c < Tile<T>::kPerRow; ++c)
                products[keys * kOwn + (r * Tile<T>::kPerRow + c) * kTileThreads] = product.sum[r][c];
    }
    const int64_t begin = key_head * view.heads_per_key, end = begin + view.heads_per_key;
    for (int64_t head = begin; head < end; ++head) {
        gates.load(view, chunk, head);
        sums.clear();
        const T* corrected = grad.corrected + view.corrected_at(first, head);
        const T* y = grad.errors + view.corrected_at(first, head);
        Tile<T> outer;
        add_rows_product(outer, view.value_dim, grad.d_output + view.output_at(first, head),
                         view.output_stride(), length, corrected, view.value_dim, length, work);
        add_within_chunk<false>(view, gates, length, outer, products, head == begin,
                                grad.query_weights + squares, sums);
        outer = Tile<T>();
        add_rows_product(outer, view.value_dim, y, view.value_dim, length, corrected, view.value_dim, length,
                         work);
        add_within_chunk<true>(view, gates, length, outer, products + kOwn, head == begin,
                               grad.key_weights + squares, sums);
        for (int i = static_cast<int>(threadIdx.x) / 32; i < length; i += kTileThreads / 32) {
            const Stored* value = view.value(first + i, head);
            T dot = 0;
            for (int j = static_cast<int>(threadIdx.x) % 32; j < view.value_dim; j += 32)
                dot += y[static_cast<int64_t>(i) * view.value_dim + j] * load(value[j]);
            dot = warp_sum(dot);
            if (threadIdx.x % 32 != 0) continue;
            grad.dbeta[(first + i) * view.num_value_heads + head] = sums.d_beta[i] + dot;
            if (grad.dg) grad.dg[(first + i) * view.num_value_heads + head] = sums.d_sum[i];
        }
    }
}

/// The ways to the gradients of a chunk that lead through a state.
enum class Path {
    to_queries, // scale diag(e^b) dO S_0ᵀ
    to_keys,    // -diag(beta e^b) Y S_0ᵀ
    to_next     // K^'s share V' dS_1ᵀ of the state after the chunk
};

/// Adds x, a product with a state, to dq or dk, and what it gives to dbeta and db. rows: the same columns of
/// q or k, of which `width` are left.
template <Path path, typename Stored, typename T = Accumulation<Stored>>
__device__ void add_through_state(const DeltaView<Stored>& view, const ChunkGates<T>& gates, int length,
                                  const Tile<T>& x, const Stored* rows, int64_t stride, int width,
                                  Tile<T>& out, ChunkSums<T>& sums) {
#pragma unroll
    for (int r = 0; r < Tile<T>::kRows; ++r) {
        const int i = x.row(r);
        T dot = 0;
#pragma unroll
        for (int c = 0; c < Tile<T>::kPerRow; ++c) {
            const int j = x.column(c);
            if (i < length && j < width) dot += x.sum[r][c] * load(rows[i * stride + j]);
        }
        dot = row_sum(dot);
        T factor = path == Path::to_queries ? view.scale * gates.from_start[i]
                   : path == Path::to_keys  ? -gates.from_start[i]
                                            : gates.to_end[i];
        const T term = factor * dot;
        if (path == Path::to_keys) factor *= gates.beta[i];
        if (threadIdx.x % 16 == 0) {
            if (path == Path::to_keys) sums.d_beta[i] += term;
            if (path == Path::to_next) sums.next[i] = term;
            sums.d_sum[i] += path == Path::to_queries ? term
                             : path == Path::to_keys  ? gates.beta[i] * term
                                                      : -term;
        }
#pragma unroll
        for (int c = 0; c < Tile<T>::kPerRow; ++c) out.sum[r][c] += factor * x.sum[r][c];
    }
}

/// e^{b_L} <S_0, dS_1>, the share of the old state in the gradient of b_L.
template <typename Stored>
__device__ Accumulation<Stored> decay_gradient(const DeltaView<Stored>& view,
                                               const DeltaBackward<Stored>& grad, const Chunk& chunk,
                                               int64_t head, Accumulation<Stored> total) {
    if (chunk.state_in < 0 || chunk.state_out < 0) return 0;
    const auto* state = grad.states + view.state_at(chunk.state_in, head);
    const auto* d_state = grad.d_states + view.state_at(chunk.state_out, head);
    Accumulation<Stored> dot = 0;
    for (int e = static_cast<int>(threadIdx.x); e < view.key_dim * view.value_dim; e += kTileThreads)
        dot += state[e] * d_state[e];
    return total * block_sum(dot);
}

/// Puts the sums of a head into dbeta and dg, which hold what came before. After the last columns each g gets
/// its share of all later b, of which it is a term.
template <typename Stored, typename T = Accumulation<Stored>>
__device__ void finish_sums(const DeltaView<Stored>& view, const DeltaBackward<Stored>& grad,
                            const Chunk& chunk, int64_t head, T d_last, bool is_last, ChunkSums<T>& sums) {
    const int length = static_cast<int>(chunk.length), i = static_cast<int>(threadIdx.x);
    const int64_t at = (chunk.first_token + i) * view.num_value_heads + head;
    __syncthreads();
    if (i < length) {
        grad.dbeta[at] += sums.d_beta[i];
        if (i == length - 1)
            for (int j = 0; j < length; ++j) d_last += sums.next[j];
        if (grad.dg) sums.d_sum[i] += grad.dg[at] + (i == length - 1 ? d_last : T(0));
    }
    __syncthreads();
    if (!grad.dg || i >= length) return;
    double suffix = 0;
    for (int j = length - 1; j >= i; --j) suffix += static_cast<double>(sums.d_sum[j]);
    grad.dg[at] = is_last ? static_cast<T>(suffix) : sums.d_sum[i];
}

/// What reaches 64 columns of dq and dk of one value head through states.
template <typename Stored, typename T = Accumulation<Stored>>
__device__ void add_head(const DeltaView<Stored>& view, const DeltaBackward<Stored>& grad, const Chunk& chunk,
                         int64_t head, int column, const ChunkGates<T>& gates, Tile<T>& dq, Tile<T>& dk,
                         T* work, ChunkSums<T>& sums) {
    const int length = static_cast<int>(chunk.length), width = tile_extent(view.key_dim, column);
    const int64_t first = chunk.first_token, key_head = head / view.heads_per_key;
    const Stored *queries = view.query(first, key_head) + column, *keys = view.key(first, key_head) + column;
    const auto state = [&](T* states, int64_t index) {
        return states + view.state_at(index, head) + static_cast<int64_t>(column) * view.value_dim;
    };
    if (chunk.state_in >= 0) {
        const T* before = state(grad.states, chunk.state_in);
        Tile<T> x;
        add_rows_product(x, view.value_dim, grad.d_output + view.output_at(first, head), view.output_stride(),
                         length, before, view.value_dim, width, work);
        add_through_state<Path::to_queries>(view, gates, length, x, queries, view.q_stride, width, dq, sums);
        x = Tile<T>();
        add_rows_product(x, view.value_dim, grad.errors + view.corrected_at(first, head), view.value_dim,
                         length, before, view.value_dim, width, work);
        add_through_state<Path::to_keys>(view, gates, length, x, keys, view.k_stride, width, dk, sums);
    }
    if (chunk.state_out >= 0) {
        Tile<T> x;
        add_rows_product(x, view.value_dim, grad.corrected + view.corrected_at(first, head), view.value_dim,
                         length, state(grad.d_states, chunk.state_out), view.value_dim, width, work);
        add_through_state<Path::to_next>(view, gates, length, x, keys, view.k_stride, width, dk, sums);
    }
}

/// dq, dk, dbeta and dg. Blocks take one chunk and key head each.
template <typename Stored>
__global__ void __launch_bounds__(kTileThreads)
    gradient_kernel(DeltaView<Stored> view, DeltaBackward<Stored> grad) {
    using T = Accumulation<Stored>;
    __shared__ ChunkGates<T> gates;
    __shared__ ChunkSums<T> sums;
    T *work = dynamic_shared<T>(), *weights = work, *rows = work + kSide * kPitch;
    const int64_t key_head = blockIdx.x % view.num_key_heads;
    const Chunk chunk = view.chunks[blockIdx.x / view.num_key_heads];
    const int length = static_cast<int>(chunk.length);
    const int64_t first = chunk.first_token, squares = static_cast<int64_t>(blockIdx.x) * kSide * kSide;
    for (int column = 0; column < view.key_dim; column += kSide) {
        const int width = tile_extent(view.key_dim, column);
        const bool is_last = column + kSide >= view.key_dim;
        Tile<T> dq, dk;
        for (int64_t head = key_head * view.heads_per_key; head < (key_head + 1) * view.heads_per_key;
             ++head) {
            gates.load(view, chunk, head);
            sums.clear();
            add_head(view, grad, chunk, head, column, gates, dq, dk, work, sums);
            const T d_last = column == 0 ? decay_gradient(view, grad, chunk, head, gates.total) : T(0);
            finish_sums(view, grad, chunk, head, d_last, is_last, sums);
        }
        const auto load_weights = [&](const T* from) {
            __syncthreads();
            load_square(from + squares, kSide, length, length, weights);
        };
        const auto load_columns = [&](const Stored* from, int64_t stride) {
            __syncthreads();
            load_square(from + column, stride, length, width, rows);
            __syncthreads();
        };
        const int depth = padded_depth(length);
        load_weights(grad.query_weights);
        load_columns(view.query(first, key_head), view.q_stride);
        dk.add_transposed_product(depth, weights, kPitch, rows, kPitch);
        load_columns(view.key(first, key_head), view.k_stride);
        dq.add_product(depth, weights, kPitch, rows, kPitch);
        load_weights(grad.key_weights);
        __syncthreads();
        dk.add_product(depth, weights, kPitch, rows, kPitch);
        dk.add_transposed_product(depth, weights, kPitch, rows, kPitch);
        const int64_t stride = view.num_key_heads * view.key_dim;
        const int64_t place = first * stride + key_head * view.key_dim + column;
        dq.for_each([&](int i, int j, T value) {
            if (i < length && j < width) grad.dq[place + i * stride + j] = static_cast<Stored>(value);
        });
        dk.for_each([&](int i, int j, T value) {
            if (i < length && j < width) grad.dk[place + i * stride + j] = static_cast<Stored>(value);
        });
    }
}

template <typename Stored>
void backward(const DeltaInputs& in, const ChunkPlan& plan, const DeltaSaved& saved, const Tensor& d_output,
              const DeltaBorders& borders, const DeltaGradients& d, Allocator& allocator) {
    using T = Accumulation<Stored>;
    const auto view = view_with_plan<Stored>(in, plan);
    const auto empty = [&](const Shape& shape) { return Tensor::empty(allocator, shape, dtype_of<T>()); };
    const Shape state_shape{plan.num_states, view.num_value_heads, view.key_dim, view.value_dim};
    const Shape weight_shape{plan.num_chunks(), view.num_key_heads, kSide, kSide};
    const Tensor errors = empty(saved.corrected.shape()), states = empty(state_shape),
                 d_states = empty(state_shape), totals = empty({plan.num_states, view.num_value_heads}),
                 query_weights = empty(weight_shape), key_weights = empty(weight_shape);
    const DeltaBackward<Stored> grad{.corrected = saved.corrected.data<T>(),
                                     .d_output = d_output.data<Stored>(),
                                     .errors = errors.data<T>(),
                                     .states = states.data<T>(),
                                     .d_states = d_states.data<T>(),
                                     .totals = totals.data<T>(),
                                     .query_weights = query_weights.data<T>(),
                                     .key_weights = key_weights.data<T>(),
                                     .dq = d.q.data<Stored>(),
                                     .dk = d.k.data<Stored>(),
                                     .dg = d.g.defined() ? d.g.data<T>() : nullptr,
                                     .dbeta = d.beta.data<T>()};
    if (borders.initial.defined()) {
        copy(borders.initial, plan.initial_of(states));
        copy(borders.d_initial, plan.initial_of(d_states));
    }
    if (borders.d_last.defined()) copy(borders.d_last, plan.last_of(d_states));
    const auto blocks = [](int64_t x, int64_t y = 1) {
        return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y));
    };
    const int64_t by_head = plan.num_chunks() * view.num_value_heads,
                  by_key_head = plan.num_chunks() * view.num_key_heads;
    constexpr size_t kSquare = sizeof(T) * kSide * kPitch;
    constexpr int64_t kCarryBlocks = 8; // per head
    launch(error_kernel<Stored>, blocks(by_head), kTileThreads, 3 * kSquare, d.q, view, grad);
    launch(share_kernel<Stored>, blocks(by_head), kTileThreads, 2 * kSquare, d.q, view, grad);
    launch(carry_kernel<Stored>, blocks(plan.num_documents() * view.num_value_heads, kCarryBlocks), kThreads,
           0, d.q, view, grad);
    const DeltaScan<Stored> scan{.inverse = saved.inverse.data<T>(),
                                 .rows = grad.errors,
                                 .states = grad.d_states,
                                 .d_values = d.v.data<Stored>()};
    run_scan<true>(view, plan, scan, d.q);
    launch(weights_kernel<Stored>, blocks(by_key_head), kTileThreads,
           2 * kSquare + 2 * sizeof(T) * kSide * kSide, d.q, view, grad);
    launch(gradient_kernel<Stored>, blocks(by_key_head), kTileThreads, 2 * kSquare, d.q, view, grad);
    if (borders.initial.defined()) copy(plan.initial_of(d_states), borders.d_initial);
}

} // namespace

void delta_rule_backward(const DeltaInputs& in, const ChunkPlan& plan, const DeltaSaved& saved,
                         const Tensor& d_output, const DeltaBorders& borders, const DeltaGradients& gradients,
                         Allocator& allocator) {
    dispatch_storage(d_output.dtype(), [&]<typename Stored>() {
        backward<Stored>(in, plan, saved, d_output, borders, gradients, allocator);
    });
}

} // namespace braid::ops::cuda
