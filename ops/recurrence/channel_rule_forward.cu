#include "ops/recurrence/channel_scan_cuda.h"
#include "ops/recurrence/unit_lower_cuda.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

// The three phases of ops/recurrence/channel_rule_forward_cpu.cpp. Decays between two rows are made for every
// pair and channel, from differences that are never above zero: a GPU has exponentials to spare.

/// P and, with the delta rule, T = (I + diag(beta) M)^-1.
template <typename Stored>
__global__ void __launch_bounds__(kTileThreads)
    pairs_kernel(ChannelView<Stored> view, Accumulation<Stored>* pairs, Accumulation<Stored>* inverse) {
    using T = Accumulation<Stored>;
    __shared__ T beta[kSide];
    T* work = dynamic_shared<T>();
    T *queries = work, *keys = work + kSide * kPitch, *sums = keys + kSide * kPitch,
      *products = sums + kSide * kPitch;
    const Chunk chunk = view.chunks[blockIdx.x / view.num_value_heads];
    const int64_t head = blockIdx.x % view.num_value_heads, at = view.inverse_at(chunk, head);
    const int length = static_cast<int>(chunk.length);
    load_betas(view, chunk, head, beta);
    for (int first = 0; first < view.key_dim; first += kSide) {
        const int used = tile_extent(view.key_dim, first);
        __syncthreads();
        load_square(view.query(chunk.first_token, head) + first, view.q_stride, length, used, queries);
        load_square(view.key(chunk.first_token, head) + first, view.k_stride, length, used, keys);
        load_sums(view, chunk, head, first, sums);
        __syncthreads();
        for (int e = static_cast<int>(threadIdx.x); e < kSide * kSide; e += kTileThreads) {
            const int i = e / kSide, j = e % kSide;
            T pair = 0, product = 0;
            for (int d = 0; j <= i && i < length && d < used; ++d) {
                const T key = keys[j * kPitch + d] * std::exp(sums[i * kPitch + d] - sums[j * kPitch + d]);
                pair += queries[i * kPitch + d] * key;
                product += keys[i * kPitch + d] * key;
            }
            if (i < length && j < length) {
                T& total = pairs[at + i * length + j];
                total = (first > 0 ? total : T(0)) + view.scale * pair;
            }
            T& total = products[i * kPitch + j];
            total = (first > 0 ? total : T(0)) + (j < i ? beta[i] * product : T(0));
        }
    }
    if (!inverse) return;
    __syncthreads();
    invert_unit_lower(products, keys);
    for (int e = static_cast<int>(threadIdx.x); e < length * length; e += kTileThreads) {
        const int i = e / length, j = e % length;
        inverse[at + e] = j <= i ? keys[i * kPitch + j] : T(0);
    }
}

/// O = scale (Q ⊙ e^b) S_0 + P U.
template <typename Stored, typename Values>
__global__ void __launch_bounds__(kTileThreads)
    channel_output_kernel(ChannelView<Stored> view, ChannelScan<Stored, Values> scan,
                          const Accumulation<Stored>* pairs, Stored* o) {
    using T = Accumulation<Stored>;
    T* work = dynamic_shared<T>();
    T *queries = work, *rows = work + kSide * kPitch, *sums = rows + kSide * kPitch;
    const Chunk chunk = view.chunks[blockIdx.x / view.num_value_heads];
    const int64_t head = blockIdx.x % view.num_value_heads;
    const int length = static_cast<int>(chunk.length);
    for (int column = 0; column < view.value_dim; column += kSide) {
        const int width = tile_extent(view.value_dim, column);
        Tile<T> sum;
        for (int first = 0; chunk.state_in >= 0 && first < view.key_dim; first += kSide) {
            const int used = tile_extent(view.key_dim, first);
            __syncthreads();
            load_square(view.query(chunk.first_token, head) + first, view.q_stride, length, used, queries);
            load_sums(view, chunk, head, first, sums);
            load_square(scan.states + view.state_at(chunk.state_in, head) +
                            static_cast<int64_t>(first) * view.value_dim + column,
                        view.value_dim, used, width, rows);
            __syncthreads();
            decay_rows<false>(length, sums, view.scale, static_cast<const T*>(nullptr), queries);
            __syncthreads();
            sum.add_product(padded_depth(used), queries, kPitch, rows, kPitch);
        }
        __syncthreads();
        load_square(pairs + view.inverse_at(chunk, head), length, length, length, queries);
        load_square(scan.values + chunk.first_token * scan.values_stride + head * scan.values_head + column,
                    scan.values_stride, length, width, rows);
        __syncthreads();
        sum.add_product(padded_depth(length), queries, kPitch, rows, kPitch);
        sum.for_each([&](int i, int j, T value) {
            if (i < length && j < width)
                o[view.output_at(chunk.first_token + i, head) + column + j] = static_cast<Stored>(value);
        });
    }
}

template <typename Stored>
void forward(const DeltaInputs& in, const ChunkPlan& plan, const Tensor& o, const ChannelSaved& saved,
             const Tensor& states) {
    using T = Accumulation<Stored>;
    const ChannelView<Stored> view(in, plan);
    const dim3 blocks(static_cast<unsigned>(plan.num_chunks() * view.num_value_heads));
    constexpr size_t kSquare = sizeof(T) * kSide * kPitch;
    const bool delta = in.beta.defined();
    T *pairs = saved.pairs.data<T>(), *inverse = delta ? saved.delta.inverse.data<T>() : nullptr,
      *corrected = delta ? saved.delta.corrected.data<T>() : nullptr;
    launch(pairs_kernel<Stored>, blocks, kTileThreads, 4 * kSquare, o, view, pairs, inverse);
    const ChannelScan<Stored, Stored> scan{view.v,    view.v_stride,    view.value_dim, inverse,
                                           corrected, states.data<T>(), nullptr,        nullptr};
    run_channel_scan<false>(view, plan, scan, o);
    if (!delta)
        return launch(channel_output_kernel<Stored, Stored>, blocks, kTileThreads, 3 * kSquare, o, view, scan,
                      pairs, o.data<Stored>());
    const ChannelScan<Stored, T> corrected_scan{corrected, view.value_dim, view.num_tokens * view.value_dim,
                                                nullptr,   nullptr,        states.data<T>(),
                                                nullptr,   nullptr};
    launch(channel_output_kernel<Stored, T>, blocks, kTileThreads, 3 * kSquare, o, view, corrected_scan,
           pairs, o.data<Stored>());
}

} // namespace

void channel_rule_forward(const DeltaInputs& in, const ChunkPlan& plan, const Tensor& o,
                          const ChannelSaved& saved, const Tensor& states, Allocator&) {
    dispatch_storage(o.dtype(), [&]<typename Stored>() { forward<Stored>(in, plan, o, saved, states); });
}

} // namespace braid::ops::cuda
