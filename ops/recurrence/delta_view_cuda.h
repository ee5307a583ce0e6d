#pragma once

#include "ops/cuda/tile.h"
#include "ops/recurrence/delta_view.h"

// What the kernels of the delta rule share. Blocks work on one chunk of one head; rows beyond the chunk's
// length count as zeros.
namespace braid::ops::cuda {

static_assert(kSide == ChunkPlan::kChunkLength);

/// With the tables of a plan that has been uploaded.
template <typename Stored>
DeltaView<Stored> view_with_plan(const DeltaInputs& in, const ChunkPlan& plan) {
    DeltaView<Stored> view(in);
    view.chunks = reinterpret_cast<const Chunk*>(plan.device_chunks.data<int64_t>());
    view.document_chunks = plan.device_document_chunks.data<int64_t>();
    return view;
}

/// The decays and betas of one chunk and head, in shared memory; zeros beyond the chunk.
template <typename T>
struct ChunkGates {
    double log_decay[kSide], sum[kSide];             // g and b, its inclusive sum within the chunk
    T beta[kSide], from_start[kSide], to_end[kSide]; // e^{b_i}, e^{b_L - b_i}
    T total;                                         // e^{b_L}

    /// By all threads of a block, which wait for each other.
    template <typename Stored>
    __device__ void load(const DeltaView<Stored>& view, const Chunk& chunk, int64_t head) {
        const int length = static_cast<int>(chunk.length);
        __syncthreads(); // nobody reads what was here any more
        for (int i = static_cast<int>(threadIdx.x); i < kSide; i += kTileThreads) {
            const int64_t token = chunk.first_token + i;
            const bool used = i < length;
            log_decay[i] = used && view.g ? static_cast<double>(view.g[token * view.g_stride + head]) : 0;
            beta[i] = used ? view.beta[token * view.beta_stride + head] : T(0);
        }
        __syncthreads();
        for (int i = static_cast<int>(threadIdx.x); i < kSide; i += kTileThreads) {
            double before = 0; // every thread adds up alone: in f64 and in order, as the CPU does
            for (int j = 0; j <= i; ++j) before += log_decay[j];
            sum[i] = before;
        }
        __syncthreads();
        for (int i = static_cast<int>(threadIdx.x); i < kSide; i += kTileThreads) {
            const double last = sum[length - 1];
            from_start[i] = i < length ? std::exp(static_cast<T>(sum[i])) : T(0);
            to_end[i] = i < length ? std::exp(static_cast<T>(last - sum[i])) : T(0);
            if (i == 0) total = std::exp(static_cast<T>(last));
        }
        __syncthreads();
    }

    /// e^{b_i - b_j} for i >= j: other exponents could overflow.
    __device__ __forceinline__ T between(int i, int j) const {
        return std::exp(static_cast<T>(sum[i] - sum[j]));
    }
};

/// weights [64, 64] in shared memory = tril(scale Q Kᵀ ⊙ D) of a chunk, D_ij = e^{b_i - b_j}. work: two
/// square matrices. All threads of the block wait for each other before and after.
template <typename Stored>
__device__ void make_output_weights(const DeltaView<Stored>& view, const Chunk& chunk, int64_t head,
                                    const ChunkGates<Accumulation<Stored>>& gates, Accumulation<Stored>* work,
                                    Accumulation<Stored>* weights) {
    using T = Accumulation<Stored>;
    const int length = static_cast<int>(chunk.length);
    const int64_t key_head = head / view.heads_per_key;
    Tile<T> products;
    add_rows_product(products, view.key_dim, view.query(chunk.first_token, key_head), view.q_stride, length,
                     view.key(chunk.first_token, key_head), view.k_stride, length, work);
    products.for_each([&](int i, int j, T product) {
        weights[i * kPitch + j] = j <= i && i < length ? view.scale * product * gates.between(i, j) : T(0);
    });
    __syncthreads();
}

} // namespace braid::ops::cuda
