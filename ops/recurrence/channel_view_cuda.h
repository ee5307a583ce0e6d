#pragma once

#include "ops/recurrence/channel_rule_kernels.h"
#include "ops/recurrence/delta_view_cuda.h"

// What the kernels of a recurrence share whose decay is a number per channel, or per head without the delta
// rule. Blocks work on one chunk of one head, of which there are as many as key heads, 64 channels at a time.
namespace braid::ops::cuda {

template <typename Stored>
struct ChannelView : DeltaView<Stored> {
    using T = Accumulation<Stored>;

    int64_t g_head, g_channel; // steps between heads and channels of g

    explicit ChannelView(const DeltaInputs& in, const ChunkPlan& plan)
        : DeltaView<Stored>(view_with_plan<Stored>(in, plan)) {
        const bool by_channel = in.g.defined() && in.g.rank() == 3;
        g_head = by_channel ? this->key_dim : 1;
        g_channel = by_channel ? 1 : 0;
    }
    __host__ __device__ bool is_by_channel() const { return g_channel != 0; }
};

/// sums [64, 64] in shared memory: the sums b of log decays up to each row, of the channels from `first` on;
/// rows beyond the chunk repeat its last. Added up in f64 and in order. By all threads, without a barrier.
template <typename Stored, typename T = Accumulation<Stored>>
__device__ void load_sums(const ChannelView<Stored>& view, const Chunk& chunk, int64_t head, int first,
                          T* sums) {
    const int column = static_cast<int>(threadIdx.x), length = static_cast<int>(chunk.length);
    if (column >= kSide) return;
    const bool used = view.g && first + column < view.key_dim;
    double sum = 0;
    for (int i = 0; i < kSide; ++i) {
        if (used && i < length)
            sum += static_cast<double>(view.g[(chunk.first_token + i) * view.g_stride + head * view.g_head +
                                              (first + column) * view.g_channel]);
        sums[i * kPitch + column] = static_cast<T>(sum);
    }
}

/// x_i *= factor_i e^b_i for the rows of a square, or with `until_end` e^(b_L - b_i); factor may be null.
template <bool until_end, typename T>
__device__ void decay_rows(int length, const T* sums, T scale, const T* factor, T* x) {
    for (int e = static_cast<int>(threadIdx.x); e < length * kSide; e += kTileThreads) {
        const int i = e / kSide, j = e % kSide;
        const T b = sums[i * kPitch + j];
        x[i * kPitch + j] *= scale * (factor ? factor[i] : T(1)) *
                             std::exp(until_end ? sums[(length - 1) * kPitch + j] - b : b);
    }
}

/// beta [64] in shared memory, zeros beyond the chunk.
template <typename Stored, typename T = Accumulation<Stored>>
__device__ void load_betas(const ChannelView<Stored>& view, const Chunk& chunk, int64_t head, T* beta) {
    const int i = static_cast<int>(threadIdx.x);
    if (i >= kSide) return;
    beta[i] =
        view.beta && i < chunk.length ? view.beta[(chunk.first_token + i) * view.beta_stride + head] : T(0);
}

/// What the scan over the chunks of a document works on. Values: the type of `values`, from which forward
/// makes U (V, or U itself where only states are wanted).
template <typename Stored, typename Values>
struct ChannelScan {
    using T = Accumulation<Stored>;

    const Values* values; // forward
    int64_t values_stride, values_head;
    const T* inverse;       // null without the delta rule
    T* rows;                // [H, T, d_v]: forward U with the delta rule, backward dU and then Y
    T* states;              // [num_states, H, d_k, d_v]: S, or in backward dS
    const Stored* d_output; // backward
    Stored* d_values;
};

} // namespace braid::ops::cuda
