#include "ops/recurrence/channel_scan_cuda.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

// The formulas are those of ops/recurrence/channel_rule_backward_cpu.cpp.

/// What backward works on beside the inputs. Values: the type of the rows of U.
template <typename Stored, typename Values>
struct ChannelBackward {
    using T = Accumulation<Stored>;

    const Values* updates; // U, or V without the delta rule
    int64_t updates_stride, updates_head;
    const Stored* d_output; // dO [T, H, d_v]
    const T* pairs;         // P, see ChannelSaved
    T* d_updates;           // [H, T, d_v]: dU, then Y
    const T *states, *d_states;
    T *of_pairs, *of_products;         // [chunks, H, 64, 64]: scale dP; W
    T *to_queries, *to_keys, *to_next; // [T, H, d_k]: dO S_0ᵀ, Y S_0ᵀ, U dS_1ᵀ
    Stored *dq, *dk;
    T *dg, *dbeta;

    __device__ const Values* updates_of(const Chunk& chunk, int64_t head) const {
        return updates + chunk.first_token * updates_stride + head * updates_head;
    }
};

/// dU = Pᵀ dO.
template <typename Stored, typename Values>
__global__ void __launch_bounds__(kTileThreads)
    channel_error_kernel(ChannelView<Stored> view, ChannelBackward<Stored, Values> grad) {
    using T = Accumulation<Stored>;
    T *weights = dynamic_shared<T>(), *rows = weights + kSide * kPitch;
    const Chunk chunk = view.chunks[blockIdx.x / view.num_value_heads];
    const int64_t head = blockIdx.x % view.num_value_heads;
    const int length = static_cast<int>(chunk.length);
    load_square(grad.pairs + view.inverse_at(chunk, head), length, length, length, weights);
    for (int column = 0; column < view.value_dim; column += kSide) {
        const int width = tile_extent(view.value_dim, column);
        __syncthreads();
        load_square(grad.d_output + view.output_at(chunk.first_token, head) + column, view.output_stride(),
                    length, width, rows);
        __syncthreads();
        Tile<T> sum;
        sum.add_transposed_product(padded_depth(length), weights, kPitch, rows, kPitch);
        T* out = grad.d_updates + view.corrected_at(chunk.first_token, head) + column;
        sum.for_each([&](int i, int j, T value) {
            if (i < length && j < width) out[static_cast<int64_t>(i) * view.value_dim + j] = value;
        });
    }
}

/// scale dP = scale tril(dO Uᵀ), W = -stril(Y Uᵀ), and the part Y V of dbeta.
template <typename Stored, typename Values>
__global__ void __launch_bounds__(kTileThreads)
    channel_weights_kernel(ChannelView<Stored> view, ChannelBackward<Stored, Values> grad) {
    using T = Accumulation<Stored>;
    T* work = dynamic_shared<T>();
    const Chunk chunk = view.chunks[blockIdx.x / view.num_value_heads];
    const int64_t head = blockIdx.x % view.num_value_heads, first = chunk.first_token,
                  square = static_cast<int64_t>(blockIdx.x) * kSide * kSide;
    const int length = static_cast<int>(chunk.length);
    const Values* updates = grad.updates_of(chunk, head);
    const T* y = grad.d_updates + view.corrected_at(first, head);
    Tile<T> product;
    add_rows_product(product, view.value_dim, grad.d_output + view.output_at(first, head),
                     view.output_stride(), length, updates, grad.updates_stride, length, work);
    product.for_each([&](int i, int j, T value) {
        grad.of_pairs[square + i * kSide + j] = j <= i && i < length ? view.scale * value : T(0);
    });
    if (!view.beta) return;
    product = Tile<T>();
    add_rows_product(product, view.value_dim, y, view.value_dim, length, updates, grad.updates_stride, length,
                     work);
    product.for_each([&](int i, int j, T value) {
        grad.of_products[square + i * kSide + j] = j < i && i < length ? -value : T(0);
    });
    for (int i = static_cast<int>(threadIdx.x) / 32; i < length; i += kTileThreads / 32) {
        const Stored* value = view.value(first + i, head);
        T dot = 0;
        for (int j = static_cast<int>(threadIdx.x) % 32; j < view.value_dim; j += 32)
            dot += y[static_cast<int64_t>(i) * view.value_dim + j] * load(value[j]);
        dot = warp_sum(dot);
        if (threadIdx.x % 32 == 0) grad.dbeta[(first + i) * view.num_value_heads + head] = dot;
    }
}

/// The products of rows with states that gradients of queries and keys are made of.
template <typename Stored, typename Values>
__global__ void __launch_bounds__(kTileThreads)
    through_states_kernel(ChannelView<Stored> view, ChannelBackward<Stored, Values> grad) {
    using T = Accumulation<Stored>;
    T* work = dynamic_shared<T>();
    const Chunk chunk = view.chunks[blockIdx.x / view.num_value_heads];
    const int64_t head = blockIdx.x % view.num_value_heads, first = chunk.first_token;
    const int length = static_cast<int>(chunk.length);
    for (int column = 0; column < view.key_dim; column += kSide) {
        const int width = tile_extent(view.key_dim, column);
        const auto add = [&](const auto* rows, int64_t stride, const T* states, int64_t index, T* out) {
            Tile<T> product;
            if (index >= 0)
                add_rows_product(
                    product, view.value_dim, rows, stride, length,
                    states + view.state_at(index, head) + static_cast<int64_t>(column) * view.value_dim,
                    view.value_dim, width, work);
            product.for_each([&](int i, int j, T value) {
                if (i < length && j < width)
                    out[((first + i) * view.num_value_heads + head) * view.key_dim + column + j] = value;
            });
        };
        add(grad.d_output + view.output_at(first, head), view.output_stride(), grad.states, chunk.state_in,
            grad.to_queries);
        if (view.beta)
            add(grad.d_updates + view.corrected_at(first, head), view.value_dim, grad.states, chunk.state_in,
                grad.to_keys);
        add(grad.updates_of(chunk, head), grad.updates_stride, grad.d_states, chunk.state_out, grad.to_next);
    }
}

/// What one channel of one row gets, without what comes through states.
template <typename T>
struct RowGradient {
    T dq = 0, read = 0, written = 0;
};

/// The sums over the pairs that row i and channel d of a chunk are in. queries, keys, sums: squares in shared
/// memory.
template <typename T>
__device__ RowGradient<T> pair_gradient(int length, int i, int d, const T* queries, const T* keys,
                                        const T* sums, const T* of_pairs, const T* of_products,
                                        const T* beta) {
    RowGradient<T> found;
    for (int j = 0; j <= i; ++j) {
        const T key = keys[j * kPitch + d] * std::exp(sums[i * kPitch + d] - sums[j * kPitch + d]);
        found.dq += of_pairs[i * kSide + j] * key;
        if (of_products) found.read += of_products[i * kSide + j] * key;
    }
    for (int j = i; j < length; ++j) {
        T row = of_pairs[j * kSide + i] * queries[j * kPitch + d];
        if (of_products) row += of_products[j * kSide + i] * beta[j] * keys[j * kPitch + d];
        found.written += row * std::exp(sums[j * kPitch + d] - sums[i * kPitch + d]);
    }
    return found;
}

/// The gradient of b_L of one channel: what reaches the state after the chunk.
template <typename Stored, typename Values, typename T = Accumulation<Stored>>
__device__ T last_gradient(const ChannelView<Stored>& view, const ChannelBackward<Stored, Values>& grad,
                           const Chunk& chunk, int64_t head, int channel, int column, const T* keys,
                           const T* sums) {
    if (chunk.state_out < 0) return 0;
    const int length = static_cast<int>(chunk.length);
    const T last = sums[(length - 1) * kPitch + column];
    T total = 0;
    for (int i = 0; i < length; ++i)
        total +=
            keys[i * kPitch + column] * std::exp(last - sums[i * kPitch + column]) *
            grad.to_next[((chunk.first_token + i) * view.num_value_heads + head) * view.key_dim + channel];
    if (chunk.state_in < 0) return total;
    const int64_t row = static_cast<int64_t>(channel) * view.value_dim;
    const T *state = grad.states + view.state_at(chunk.state_in, head) + row,
            *d_state = grad.d_states + view.state_at(chunk.state_out, head) + row;
    T dot = 0;
    for (int j = 0; j < view.value_dim; ++j) dot += state[j] * d_state[j];
    return total + std::exp(last) * dot;
}

/// dq, dk, dg and the rest of dbeta. `work`: four squares, the last for terms of rows.
template <typename Stored, typename Values>
__global__ void __launch_bounds__(kTileThreads)
    channel_gradient_kernel(ChannelView<Stored> view, ChannelBackward<Stored, Values> grad) {
    using T = Accumulation<Stored>;
    constexpr int kOwn = kSide * kSide / kTileThreads;
    __shared__ T beta[kSide], row_sums[kSide];
    T* work = dynamic_shared<T>();
    T *queries = work, *keys = work + kSide * kPitch, *sums = keys + kSide * kPitch,
      *terms = sums + kSide * kPitch;
    const Chunk chunk = view.chunks[blockIdx.x / view.num_value_heads];
    const int64_t head = blockIdx.x % view.num_value_heads, first = chunk.first_token,
                  square = static_cast<int64_t>(blockIdx.x) * kSide * kSide;
    const int length = static_cast<int>(chunk.length), thread = static_cast<int>(threadIdx.x);
    const T *of_pairs = grad.of_pairs + square,
            *of_products = view.beta ? grad.of_products + square : nullptr;
    load_betas(view, chunk, head, beta);
    if (thread < kSide) row_sums[thread] = 0;
    for (int column = 0; column < view.key_dim; column += kSide) {
        const int width = tile_extent(view.key_dim, column);
        __syncthreads();
        load_square(view.query(first, head) + column, view.q_stride, length, width, queries);
        load_square(view.key(first, head) + column, view.k_stride, length, width, keys);
        load_sums(view, chunk, head, column, sums);
        __syncthreads();
        const T of_last = thread < width
                              ? last_gradient(view, grad, chunk, head, column + thread, thread, keys, sums)
                              : T(0);
        T of_sums[kOwn], of_betas[kOwn]; // db and the terms of dbeta
        for (int own = 0; own < kOwn; ++own) {
            const int e = own * kTileThreads + thread, i = e / kSide, d = e % kSide;
            of_sums[own] = of_betas[own] = 0;
            if (i >= length || d >= width) continue;
            RowGradient<T> row =
                pair_gradient(length, i, d, queries, keys, sums, of_pairs, of_products, beta);
            const int64_t at = ((first + i) * view.num_value_heads + head) * view.key_dim + column + d;
            const T since = std::exp(sums[i * kPitch + d]),
                    until = std::exp(sums[(length - 1) * kPitch + d] - sums[i * kPitch + d]);
            row.dq += view.scale * since * grad.to_queries[at];
            if (of_products) row.read -= since * grad.to_keys[at];
            row.written += until * grad.to_next[at];
            const T query = queries[i * kPitch + d], key = keys[i * kPitch + d];
            grad.dq[at] = static_cast<Stored>(row.dq);
            grad.dk[at] = static_cast<Stored>(beta[i] * row.read + row.written);
            of_sums[own] = query * row.dq + key * (beta[i] * row.read - row.written);
            of_betas[own] = key * row.read;
        }
        // Rows of terms, of db in `terms` and of dbeta in `sums`, which have been read.
        __syncthreads();
        for (int own = 0; own < kOwn; ++own) {
            const int e = own * kTileThreads + thread, i = e / kSide, d = e % kSide;
            terms[i * kPitch + d] = of_sums[own];
            sums[i * kPitch + d] = of_betas[own];
        }
        __syncthreads();
        if (grad.dg && view.is_by_channel() && thread < width) {
            double suffix = static_cast<double>(of_last); // b is a running sum, so g reaches all later b
            for (int i = length - 1; i >= 0; --i) {
                suffix += static_cast<double>(terms[i * kPitch + thread]);
                grad.dg[((first + i) * view.num_value_heads + head) * view.key_dim + column + thread] =
                    static_cast<T>(suffix);
            }
        }
        if (grad.dg && !view.is_by_channel()) {
            if (thread < width) terms[(length - 1) * kPitch + thread] += of_last;
            __syncthreads();
            if (thread < length)
                for (int d = 0; d < width; ++d) row_sums[thread] += terms[thread * kPitch + d];
        }
        if (view.beta && thread < length) {
            T dot = 0;
            for (int d = 0; d < width; ++d) dot += sums[thread * kPitch + d];
            grad.dbeta[(first + thread) * view.num_value_heads + head] += dot;
        }
    }
    if (!grad.dg || view.is_by_channel()) return;
    __syncthreads();
    if (thread >= length) return;
    double suffix = 0;
    for (int i = length - 1; i >= thread; --i) suffix += static_cast<double>(row_sums[i]);
    grad.dg[(first + thread) * view.num_value_heads + head] = static_cast<T>(suffix);
}

/// Memory that backward works in.
struct ChannelWork {
    Tensor d_updates, states, d_states, of_pairs, of_products, to_queries, to_keys, to_next;

    ChannelWork(const DeltaInputs& in, const ChunkPlan& plan, DType dtype, Allocator& allocator) {
        const int64_t heads = in.num_value_heads(), tokens = in.num_tokens();
        const auto empty = [&](const Shape& shape) { return Tensor::empty(allocator, shape, dtype); };
        const Shape state{plan.num_states, heads, in.key_dim(), in.value_dim()},
            square{plan.num_chunks(), heads, kSide, kSide}, rows{tokens, heads, in.key_dim()};
        d_updates = empty({heads, tokens, in.value_dim()});
        states = empty(state);
        d_states = empty(state);
        of_pairs = empty(square);
        to_queries = empty(rows);
        to_next = empty(rows);
        if (!in.beta.defined()) return;
        of_products = empty(square);
        to_keys = empty(rows);
    }
};

template <typename Stored, typename Values>
void backward(const DeltaInputs& in, const ChunkPlan& plan, const ChannelSaved& saved, const Tensor& d_output,
              const DeltaBorders& borders, const DeltaGradients& d, const Values* updates,
              int64_t updates_stride, int64_t updates_head, Allocator& allocator) {
    using T = Accumulation<Stored>;
    const ChannelView<Stored> view(in, plan);
    const ChannelWork work(in, plan, dtype_of<T>(), allocator);
    const bool delta = in.beta.defined();
    const auto pointer = [](const Tensor& x) { return x.defined() ? x.data<T>() : nullptr; };
    const ChannelBackward<Stored, Values> grad{updates,
                                               updates_stride,
                                               updates_head,
                                               d_output.data<Stored>(),
                                               saved.pairs.data<T>(),
                                               work.d_updates.data<T>(),
                                               work.states.data<T>(),
                                               work.d_states.data<T>(),
                                               work.of_pairs.data<T>(),
                                               pointer(work.of_products),
                                               work.to_queries.data<T>(),
                                               pointer(work.to_keys),
                                               work.to_next.data<T>(),
                                               d.q.data<Stored>(),
                                               d.k.data<Stored>(),
                                               pointer(d.g),
                                               pointer(d.beta)};
    const dim3 blocks(static_cast<unsigned>(plan.num_chunks() * view.num_value_heads));
    constexpr size_t kSquare = sizeof(T) * kSide * kPitch;
    if (borders.initial.defined()) {
        copy(borders.initial, plan.initial_of(work.states));
        copy(borders.d_initial, plan.initial_of(work.d_states));
    }
    if (borders.d_last.defined()) copy(borders.d_last, plan.last_of(work.d_states));
    launch(channel_error_kernel<Stored, Values>, blocks, kTileThreads, 2 * kSquare, d.q, view, grad);
    // The states again, from U as it is.
    run_channel_scan<false>(view, plan,
                            ChannelScan<Stored, Values>{updates, updates_stride, updates_head, nullptr,
                                                        nullptr, work.states.data<T>(), nullptr, nullptr},
                            d.q);
    run_channel_scan<true>(
        view, plan,
        ChannelScan<Stored, Values>{updates, updates_stride, updates_head,
                                    delta ? saved.delta.inverse.data<T>() : nullptr, work.d_updates.data<T>(),
                                    work.d_states.data<T>(), d_output.data<Stored>(), d.v.data<Stored>()},
        d.q);
    launch(channel_weights_kernel<Stored, Values>, blocks, kTileThreads, 2 * kSquare, d.q, view, grad);
    launch(through_states_kernel<Stored, Values>, blocks, kTileThreads, 2 * kSquare, d.q, view, grad);
    launch(channel_gradient_kernel<Stored, Values>, blocks, kTileThreads, 4 * kSquare, d.q, view, grad);
    if (borders.initial.defined()) copy(plan.initial_of(work.d_states), borders.d_initial);
}

} // namespace

void channel_rule_backward(const DeltaInputs& in, const ChunkPlan& plan, const ChannelSaved& saved,
                           const Tensor& d_output, const DeltaBorders& borders,
                           const DeltaGradients& gradients, Allocator& allocator) {
    dispatch_storage(d_output.dtype(), [&]<typename Stored>() {
        using T = Accumulation<Stored>;
        if (in.beta.defined())
            backward<Stored, T>(in, plan, saved, d_output, borders, gradients,
                                saved.delta.corrected.template data<T>(), in.value_dim(),
                                in.num_tokens() * in.value_dim(), allocator);
        else
            backward<Stored, Stored>(in, plan, saved, d_output, borders, gradients,
                                     in.v.template data<Stored>(), in.v.row_stride(), in.value_dim(),
                                     allocator);
    });
}

} // namespace braid::ops::cuda
