#pragma once

#include "ops/recurrence/channel_view_cuda.h"
#include "ops/recurrence/delta_scan_cuda.h"

namespace braid::ops::cuda {

/// The parts of a block's shared memory.
template <typename T>
struct ChannelScanMemory {
    static constexpr int kColumns = kScanColumns<T>;
    int depth;                                // d_k, up to the next multiple of 64
    T *state, *keys, *sums, *rows, *d_output; // [depth, columns], two squares, [64, columns] twice

    __host__ __device__ ChannelScanMemory(int key_dim, T* memory)
        : depth((key_dim + kSide - 1) / kSide * kSide) {
        state = memory;
        keys = state + depth * kColumns;
        sums = keys + kSide * kPitch;
        rows = sums + kSide * kPitch;
        d_output = rows + kSide * kColumns;
    }
    size_t bytes() const { return static_cast<size_t>(d_output + kSide * kColumns - state) * sizeof(T); }
};

/// Carries the columns [first, first + columns) of the state of one head through one document, in the letters
/// of channel_rule_forward_cpu.cpp and channel_rule_backward_cpu.cpp. Forward, from the first chunk:
///     U = T diag(beta) (V - K^ S), or V;  S <- diag(e^b_L) S + K_ᵀ U
/// backward, from the last, where `rows` holds the share of dU of the chunk's own outputs:
///     Y = Tᵀ (dU + K_ dS), or without Tᵀ;  dS <- diag(e^b_L) dS + scale (Q ⊙ e^b)ᵀ dO - (diag(beta) K^)ᵀ Y
template <typename Stored, typename Values, bool kBackward>
__global__ void __launch_bounds__(kTileThreads)
    channel_scan_kernel(ChannelView<Stored> view, ChannelScan<Stored, Values> scan) {
    using T = Accumulation<Stored>;
    constexpr int kColumns = kScanColumns<T>;
    const ChannelScanMemory<T> memory(view.key_dim, braid::cuda::dynamic_shared<T>());
    __shared__ T beta[kSide];
    const int64_t document = blockIdx.x / view.num_value_heads, head = blockIdx.x % view.num_value_heads;
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
        const auto load_decayed = [&](const Stored* x, int64_t stride, int first, auto until_end, T scale,
                                      const T* factor) {
            __syncthreads(); // nobody reads what was here any more
            load_square(x + first, stride, length, view.key_dim - first, memory.keys);
            load_sums(view, chunk, head, first, memory.sums);
            __syncthreads();
            decay_rows<until_end.value>(length, memory.sums, scale, factor, memory.keys);
            __syncthreads();
        };
        const Stored *keys = view.key(chunk.first_token, head),
                     *queries = view.query(chunk.first_token, head);
        __syncthreads();
        load_betas(view, chunk, head, beta);
        Tile<T, kColumns> errors;
        for (int first = 0; has_state && (kBackward || scan.inverse) && first < view.key_dim;
             first += kSide) {
            load_decayed(keys, view.k_stride, first, std::bool_constant<kBackward>(), T(1), nullptr);
            errors.add_product(kSide, memory.keys, kPitch, memory.state + first * kColumns, kColumns);
        }
        __syncthreads();
        T* rows = scan.rows + (scan.rows ? view.corrected_at(chunk.first_token, head) + first_column : 0);
        const Values* values =
            scan.values + chunk.first_token * scan.values_stride + head * scan.values_head + first_column;
        errors.for_each([&](int i, int j, T through_state) {
            T row = 0;
            if (i < length && j < width) {
                if constexpr (kBackward) {
                    row = rows[static_cast<int64_t>(i) * view.value_dim + j] + through_state;
                    memory.d_output[i * kColumns + j] = braid::cuda::load(
                        scan.d_output[view.output_at(chunk.first_token + i, head) + first_column + j]);
                } else {
                    row = braid::cuda::load(values[i * scan.values_stride + j]);
                    if (scan.inverse) row = beta[i] * (row - through_state);
                }
            } else if (kBackward) {
                memory.d_output[i * kColumns + j] = 0;
            }
            memory.rows[i * kColumns + j] = row;
        });
        __syncthreads();
        if (scan.inverse) {
            load_square(scan.inverse + view.inverse_at(chunk, head), length, length, length, memory.keys);
            __syncthreads();
            Tile<T, kColumns> solved;
            if constexpr (kBackward)
                solved.add_transposed_product(padded_depth(length), memory.keys, kPitch, memory.rows,
                                              kColumns);
            else
                solved.add_product(padded_depth(length), memory.keys, kPitch, memory.rows, kColumns);
            __syncthreads();
            solved.for_each([&](int i, int j, T row) { memory.rows[i * kColumns + j] = row; });
            __syncthreads();
        }
        if (kBackward || scan.inverse) {
            for (int e = static_cast<int>(threadIdx.x); e < length * kColumns; e += kTileThreads) {
                const int i = e / kColumns, j = e % kColumns;
                if (j >= width) continue;
                const T row = memory.rows[e];
                rows[static_cast<int64_t>(i) * view.value_dim + j] = row;
                if constexpr (kBackward)
                    scan.d_values[view.output_at(chunk.first_token + i, head) + first_column + j] =
                        static_cast<Stored>(scan.inverse ? beta[i] * row : row);
            }
        }
        if (!out) continue;
        for (int first = 0; first < view.key_dim; first += kSide) {
            Tile<T, kColumns> change;
            if constexpr (kBackward) {
                load_decayed(queries, view.q_stride, first, std::false_type(), view.scale, nullptr);
                change.add_transposed_product(padded_depth(length), memory.keys, kPitch, memory.d_output,
                                              kColumns);
                if (scan.inverse) {
                    load_decayed(keys, view.k_stride, first, std::false_type(), T(-1), beta);
                    change.add_transposed_product(padded_depth(length), memory.keys, kPitch, memory.rows,
                                                  kColumns);
                }
            } else {
                load_decayed(keys, view.k_stride, first, std::true_type(), T(1), nullptr);
                change.add_transposed_product(padded_depth(length), memory.keys, kPitch, memory.rows,
                                              kColumns);
            }
            change.for_each([&](int i, int j, T sum) {
                const bool used = first + i < view.key_dim && j < width;
                T& state = memory.state[(first + i) * kColumns + j];
                if (has_state) sum += std::exp(memory.sums[(length - 1) * kPitch + i]) * state;
                state = used ? sum : T(0);
                if (used) out[static_cast<int64_t>(first + i) * view.value_dim + first_column + j] = sum;
            });
        }
    }
}

template <bool kBackward, typename Stored, typename Values>
void run_channel_scan(const ChannelView<Stored>& view, const ChunkPlan& plan,
                      const ChannelScan<Stored, Values>& scan, const Tensor& place) {
    using T = Accumulation<Stored>;
    constexpr int kColumns = kScanColumns<T>;
    const size_t bytes = ChannelScanMemory<T>(view.key_dim, nullptr).bytes(),
                 most = static_cast<size_t>(braid::cuda::most_shared_memory()) - sizeof(T) * kSide - 16;
    if (bytes > most)
        braid::cuda::throw_lack_of_shared_memory(
            fmt::format("linear_recurrence: heads of {} keys, computed in {},", view.key_dim,
                        name_of(dtype_of<T>())),
            static_cast<int64_t>(bytes));
    const dim3 grid(static_cast<unsigned>(plan.num_documents() * view.num_value_heads),
                    static_cast<unsigned>((view.value_dim + kColumns - 1) / kColumns));
    braid::cuda::launch(channel_scan_kernel<Stored, Values, kBackward>, grid, kTileThreads, bytes, place,
                        view, scan);
}

} // namespace braid::ops::cuda
