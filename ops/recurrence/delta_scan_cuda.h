#pragma once

#include "ops/recurrence/delta_view_cuda.h"

namespace braid::ops::cuda {

/// What the scan over the chunks of a document works on; see scan_kernel.
template <typename Stored>
struct DeltaScan {
    using T = Accumulation<Stored>;

    const T* inverse; // see DeltaSaved
    T* rows;          // [H_v, T, d_v]: forward V', backward dV' and then Y
    T* states;        // [num_states, H_v, d_k, d_v]: S, or in backward dS, which holds its share from q first
    Stored* d_values; // backward: dv [T, H_v, d_v]
};

/// Columns of the state that one block carries through a document.
template <typename T>
constexpr int kScanColumns = sizeof(T) == 4 ? 32 : 16;

/// The state, keys, inverse and rows of a block, in shared memory. Where all columns of the keys do not fit,
/// 64 of them are there at a time, and are read twice for each chunk.
template <typename T, bool kWholeKeys>
struct ScanMemory {
    static constexpr int kColumns = kScanColumns<T>;
    int depth;                        // d_k, up to the next multiple of the rows that a thread holds
    int key_columns, key_pitch;       // of the keys that are there, [64, key_columns]
    T *state, *keys, *inverse, *rows; // [depth, columns], see key_pitch, square, [64, columns]

    __host__ __device__ ScanMemory(int key_dim, T* memory)
        : depth((key_dim + 7) / 8 * 8), key_columns(kWholeKeys ? depth : kSide), key_pitch(key_columns + 4) {
        state = memory;
        keys = state + depth * kColumns;
        inverse = keys + kSide * key_pitch;
        rows = inverse + kSide * kPitch;
    }
    size_t bytes() const { return static_cast<size_t>(rows + kSide * kColumns - state) * sizeof(T); }
};

/// Carries the columns [first, first + columns) of the state of one value head through one document. Forward,
/// from the first chunk:
///     V' = T (diag(beta) (V - diag(e^b) K S)),  S <- e^{b_L} S + K^ᵀ V'
/// backward, from the last, for the gradients dV' (of which `rows` holds the share of the chunk's own
/// outputs) and dS:
///     Y = Tᵀ (dV' + K^ dS),  dS <- e^{b_L} dS + scale (diag(e^b) Q)ᵀ dO - (diag(beta e^b) K)ᵀ Y
/// where K^ = diag(e^{b_L - b_i}) K.
template <typename Stored, bool kBackward, bool kWholeKeys>
__global__ void __launch_bounds__(kTileThreads) scan_kernel(DeltaView<Stored> view, DeltaScan<Stored> scan) {
    using T = Accumulation<Stored>;
    constexpr int kColumns = kScanColumns<T>;
    const ScanMemory<T, kWholeKeys> memory(view.key_dim, braid::cuda::dynamic_shared<T>());
    __shared__ ChunkGates<T> gates;
    const int64_t document = blockIdx.x / view.num_value_heads, head = blockIdx.x % view.num_value_heads;
    const int64_t key_head = head / view.heads_per_key;
    const int first_column = static_cast<int>(blockIdx.y) * kColumns;
    const int width = std::min(kColumns, view.value_dim - first_column);
    const int64_t begin = view.document_chunks[document], end = view.document_chunks[document + 1];

    for (int64_t step = begin; step < end; ++step) {
        const Chunk chunk = view.chunks[kBackward ? begin + end - 1 - step : step];
        const int length = static_cast<int>(chunk.length);
        const int64_t known = kBackward ? chunk.state_out : chunk.state_in,
                      next = kBackward ? chunk.state_in : chunk.state_out;
        const bool has_state = known >= 0;
        T* out = next >= 0 ? scan.states + view.state_at(next, head) : nullptr;
        if (step == begin && has_state) {
            const T* start = scan.states + view.state_at(known, head);
            for (int e = static_cast<int>(threadIdx.x); e < memory.depth * kColumns; e += kTileThreads) {
                const int i = e / kColumns, j = e % kColumns;
                memory.state[e] = i < view.key_dim && j < width
                                      ? start[static_cast<int64_t>(i) * view.value_dim + first_column + j]
                                      : T(0);
            }
        }
        gates.load(view, chunk, head);
        const auto load_keys = [&](int first) {
            load_rows(view.key(chunk.first_token, key_head) + first, view.k_stride, length,
                      view.key_dim - first, memory.keys, memory.key_columns, memory.key_pitch);
        };
        if constexpr (kWholeKeys) load_keys(0);
        load_square(scan.inverse + view.inverse_at(chunk, head), length, length, length, memory.inverse);
        __syncthreads();
        Tile<T, kColumns> errors;
        if constexpr (kWholeKeys) {
            if (has_state)
                errors.add_product(memory.depth, memory.keys, memory.key_pitch, memory.state, kColumns);
        } else {
            for (int first = 0; has_state && first < memory.depth; first += kSide) {
                load_keys(first);
                __syncthreads();
                errors.add_product(tile_extent(memory.depth, first), memory.keys, memory.key_pitch,
                                   memory.state + first * kColumns, kColumns);
                __syncthreads();
            }
        }
        T* rows = scan.rows + view.corrected_at(chunk.first_token, head) + first_column;
        const Stored* values = view.value(chunk.first_token, head) + first_column;
        errors.for_each([&](int i, int j, T through_state) {
            T error = 0;
            if (i < length && j < width) {
                if constexpr (kBackward)
                    error =
                        rows[static_cast<int64_t>(i) * view.value_dim + j] + gates.to_end[i] * through_state;
                else
                    error = gates.beta[i] * (braid::cuda::load(values[i * view.v_stride + j]) -
                                             gates.from_start[i] * through_state);
            }
            memory.rows[i * kColumns + j] = error;
        });
        __syncthreads();
        Tile<T, kColumns> solved;
        if constexpr (kBackward)
            solved.add_transposed_product(padded_depth(length), memory.inverse, kPitch, memory.rows,
                                          kColumns);
        else
            solved.add_product(padded_depth(length), memory.inverse, kPitch, memory.rows, kColumns);
        __syncthreads();
        solved.for_each([&](int i, int j, T row) {
            if (i < length && j < width) {
                rows[static_cast<int64_t>(i) * view.value_dim + j] = row;
                if constexpr (kBackward)
                    scan.d_values[view.output_at(chunk.first_token + i, head) + first_column + j] =
                        static_cast<Stored>(gates.beta[i] * row);
            }
            memory.rows[i * kColumns + j] =
                row * (kBackward ? -gates.beta[i] * gates.from_start[i] : gates.to_end[i]);
        });
        if (!out) continue;
        __syncthreads();
        for (int first = 0; first < memory.depth; first += kSide) {
            const int rows_left = memory.depth - first;
            if constexpr (!kWholeKeys) {
                if (first > 0) __syncthreads(); // the columns before have been read
                load_keys(first);
                __syncthreads();
            }
            Tile<T, kColumns> change;
            if (change.row(0) >= rows_left) continue; // a thread that has none of these rows
            change.add_transposed_product(padded_depth(length), memory.keys + (kWholeKeys ? first : 0),
                                          memory.key_pitch, memory.rows, kColumns);
            change.for_each([&](int i, int j, T sum) {
                const int64_t at = static_cast<int64_t>(first + i) * view.value_dim + first_column + j;
                const bool used = first + i < view.key_dim && j < width;
                T& state = memory.state[(first + i) * kColumns + j];
                if (kBackward && used) sum += out[at];
                if (has_state) sum += gates.total * state;
                state = sum;
                if (used) out[at] = sum;
            });
        }
    }
}

/// Starts the scan over all documents, in this much shared memory.
template <bool kBackward, bool kWholeKeys, typename Stored>
void launch_scan(const DeltaView<Stored>& view, const ChunkPlan& plan, const DeltaScan<Stored>& scan,
                 size_t bytes, const Tensor& place) {
    constexpr int kColumns = kScanColumns<Accumulation<Stored>>;
    const dim3 grid(static_cast<unsigned>(plan.num_documents() * view.num_value_heads),
                    static_cast<unsigned>((view.value_dim + kColumns - 1) / kColumns));
    braid::cuda::launch(scan_kernel<Stored, kBackward, kWholeKeys>, grid, kTileThreads, bytes, place, view,
                        scan);
}

/// Starts the scan over all documents, with all columns of the keys at once where the device has the memory.
template <bool kBackward, typename Stored>
void run_scan(const DeltaView<Stored>& view, const ChunkPlan& plan, const DeltaScan<Stored>& scan,
              const Tensor& place) {
    using T = Accumulation<Stored>;
    constexpr size_t kStatic = sizeof(ChunkGates<T>) + 16; // as it may be aligned
    const auto most = static_cast<size_t>(braid::cuda::most_shared_memory()) - kStatic;
    const size_t whole = ScanMemory<T, true>(view.key_dim, nullptr).bytes(),
                 part = ScanMemory<T, false>(view.key_dim, nullptr).bytes();
    if (whole <= most)
        launch_scan<kBackward, true>(view, plan, scan, whole, place);
    else if (part <= most)
        launch_scan<kBackward, false>(view, plan, scan, part, place);
    else
        braid::cuda::throw_lack_of_shared_memory(
            fmt::format("gated_delta_rule: heads of {} keys, computed in {},", view.key_dim,
                        name_of(dtype_of<T>())),
            static_cast<int64_t>(part + kStatic));
}

} // namespace braid::ops::cuda
