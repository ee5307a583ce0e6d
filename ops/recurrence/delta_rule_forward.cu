#include "ops/recurrence/delta_scan_cuda.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

// The three phases of ops/recurrence/delta_rule_forward_cpu.cpp: what a chunk is by itself, the scan that
// carries states from chunk to chunk, and the outputs. Blocks of the first and last take one chunk and value
// head.

constexpr int kBlockSide = 16; // of the squares that a triangular matrix is inverted by

/// y = (I + a)^-1 for strictly lower triangular a, square matrices in shared memory of which all threads of
/// the block see a. Squares on the diagonal by substitution; then Y_ij = -Y_ii sum_m A_im Y_mj, diagonal by
/// diagonal. Leaves other numbers above the diagonal squares: the sums, each at its mirrored place.
template <typename T>
__device__ void invert_unit_lower(const T* a, T* y) {
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < kSide) {
        const int base = thread / kBlockSide * kBlockSide, column = thread % kBlockSide;
        for (int r = 0; r < kBlockSide; ++r) {
            T value = r == column ? T(1) : T(0);
            for (int m = column; m < r; ++m)
                value -= a[(base + r) * kPitch + base + m] * y[(base + m) * kPitch + base + column];
            y[(base + r) * kPitch + base + column] = value;
        }
    }
    __syncthreads();
    constexpr int kBlocks = kSide / kBlockSide, kElements = kBlockSide * kBlockSide;
    for (int distance = 1; distance < kBlocks; ++distance) {
        const int count = (kBlocks - distance) * kElements;
        for (int e = thread; e < count; e += kTileThreads) {
            const int left = e / kElements * kBlockSide, top = left + distance * kBlockSide;
            const int r = e % kElements / kBlockSide, c = e % kBlockSide;
            T sum = 0;
            for (int m = left; m < top; ++m) sum += a[(top + r) * kPitch + m] * y[m * kPitch + left + c];
            y[(left + r) * kPitch + top + c] = sum;
        }
        __syncthreads();
        for (int e = thread; e < count; e += kTileThreads) {
            const int left = e / kElements * kBlockSide, top = left + distance * kBlockSide;
            const int r = e % kElements / kBlockSide, c = e % kBlockSide;
            T sum = 0;
            for (int m = 0; m <= r; ++m)
                sum -= y[(top + r) * kPitch + top + m] * y[(left + m) * kPitch + top + c];
            y[(top + r) * kPitch + left + c] = sum;
        }
        __syncthreads();
    }
}

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
