#include "ops/recurrence/delta_scan_cuda.h"
#include "ops/recurrence/unit_lower_cuda.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

// The three phases of ops/recurrence/delta_rule_forward_cpu.cpp: what a chunk is by itself, the scan that
// carries states from chunk to chunk, and the outputs. Blocks of the first and last take one chunk and value
// head.

/// T = (I + stril(diag(beta) (K Kᵀ ⊙ D)))^-1.
template <typename Stored>
__global__ void __launch_bounds__(kTileThreads)
    inverse_kernel(DeltaView<Stored> view, Accumulation<Stored>* inverse) {
    using T = Accumulation<Stored>;
    __shared__ ChunkGates<T> gates;
    T* system = dynamic_shared<T>();
    T* solution = system + kSide * kPitch; // the keys before
    const Chunk chunk = view.chunks[blockIdx.x / view.num_value_heads];
    const int64_t head = blockIdx.x % view.num_value_heads;
    const int length = static_cast<int>(chunk.length);
    gates.load(view, chunk, head);
    Tile<T> products;
    for (int first = 0; first < view.key_dim; first += kSide) {
        const int used = tile_extent(view.key_dim, first);
        load_square(view.key(chunk.first_token, head / view.heads_per_key) + first, view.k_stride, length,
                    used, solution);
        __syncthreads();
        products.add_product_transposed(padded_depth(used), solution, kPitch, solution, kPitch);
        __syncthreads();
    }
    products.for_each([&](int i, int j, T product) {
        system[i * kPitch + j] = j < i && i < length ? gates.beta[i] * product * gates.between(i, j) : T(0);
    });
    __syncthreads();
    invert_unit_lower(system, solution);
    T* out = inverse + view.inverse_at(chunk, head);
    for (int e = static_cast<int>(threadIdx.x); e < length * length; e += kTileThreads) {
        const int i = e / length, j = e % length;
        out[e] = j <= i ? solution[i * kPitch + j] : T(0);
    }
}

/// O = scale (diag(e^b) Q S_0 + tril(Q Kᵀ ⊙ D) V').
template <typename Stored>
__global__ void __launch_bounds__(kTileThreads)
    output_kernel(DeltaView<Stored> view, const Accumulation<Stored>* corrected,
                  const Accumulation<Stored>* states, Stored* o) {
    using T = Accumulation<Stored>;
    __shared__ ChunkGates<T> gates;
    T* work = dynamic_shared<T>();
    T *queries = work, *rows = work + kSide * kPitch, *weights = rows + kSide * kPitch;
    const Chunk chunk = view.chunks[blockIdx.x / view.num_value_heads];
    const int64_t head = blockIdx.x % view.num_value_heads, key_head = head / view.heads_per_key;
    const int length = static_cast<int>(chunk.length);
    gates.load(view, chunk, head);
    make_output_weights(view, chunk, head, gates, work, weights);
    for (int column = 0; column < view.value_dim; column += kSide) {
        const int width = tile_extent(view.value_dim, column);
        Tile<T> sum;
        for (int first = 0; chunk.state_in >= 0 && first < view.key_dim; first += kSide) {
            const int used = tile_extent(view.key_dim, first);
            load_square(view.query(chunk.first_token, key_head) + first, view.q_stride, length, used,
                        queries);
            load_square(states + view.state_at(chunk.state_in, head) +
                            static_cast<int64_t>(first) * view.value_dim + column,
                        view.value_dim, used, width, rows);
            __syncthreads();
            sum.add_product(padded_depth(used), queries, kPitch, rows, kPitch);
            __syncthreads();
        }
        sum.for_each([&](int i, int, T& value) { value *= view.scale * gates.from_start[i]; });
        load_square(corrected + view.corrected_at(chunk.first_token, head) + column, view.value_dim, length,
                    width, rows);
        __syncthreads();
        sum.add_product(padded_depth(length), weights, kPitch, rows, kPitch);
        __syncthreads();
        sum.for_each([&](int i, int j, T value) {
            if (i < length && j < width)
                o[view.output_at(chunk.first_token + i, head) + column + j] = static_cast<Stored>(value);
        });
    }
}

template <typename Stored>
void forward(const DeltaInputs& in, const ChunkPlan& plan, const Tensor& o, const DeltaSaved& saved,
             const Tensor& states) {
    using T = Accumulation<Stored>;
    const auto view = view_with_plan<Stored>(in, plan);
    const dim3 blocks(static_cast<unsigned>(plan.num_chunks() * view.num_value_heads));
    constexpr size_t kSquare = sizeof(T) * kSide * kPitch;
    T *inverse = saved.inverse.data<T>(), *corrected = saved.corrected.data<T>();
    launch(inverse_kernel<Stored>, blocks, kTileThreads, 2 * kSquare, o, view, inverse);
    run_scan<false>(view, plan, DeltaScan<Stored>{inverse, corrected, states.data<T>(), nullptr}, o);
    launch(output_kernel<Stored>, blocks, kTileThreads, 3 * kSquare, o, view, corrected, states.data<T>(),
           o.data<Stored>());
}

} // namespace

void delta_rule_forward(const DeltaInputs& in, const ChunkPlan& plan, const Tensor& o,
                        const DeltaSaved& saved, const Tensor& states, Allocator&) {
    dispatch_storage(o.dtype(), [&]<typename Stored>() { forward<Stored>(in, plan, o, saved, states); });
}

} // namespace braid::ops::cuda
