#pragma once

#include "ops/cpu/widen.h"
#include "ops/recurrence/delta_chunk_cpu.h"
#include "ops/recurrence/delta_rule_kernels.h"

namespace braid::ops::cpu {

inline DeltaInputs widened(const DeltaInputs& in) {
    return {widened(in.q), widened(in.k), widened(in.v), in.g, in.beta, in.scale};
}

/// The delta rule's inputs as pointers.
template <typename T>
struct DeltaView {
    const T *q, *k, *v, *g, *beta;                               // g is null without decay
    int64_t q_stride, k_stride, v_stride, g_stride, beta_stride; // between tokens
    int64_t num_tokens, num_key_heads, num_value_heads, heads_per_key, key_dim, value_dim;
    T scale;

    explicit DeltaView(const DeltaInputs& in)
        : q(in.q.data<T>()),
          k(in.k.data<T>()),
          v(in.v.data<T>()),
          g(in.g.defined() ? in.g.data<T>() : nullptr),
          beta(in.beta.data<T>()),
          q_stride(in.q.row_stride()),
          k_stride(in.k.row_stride()),
          v_stride(in.v.row_stride()),
          g_stride(in.g.defined() ? in.g.row_stride() : 0),
          beta_stride(in.beta.row_stride()),
          num_tokens(in.num_tokens()),
          num_key_heads(in.num_key_heads()),
          num_value_heads(in.num_value_heads()),
          heads_per_key(in.heads_per_key()),
          key_dim(in.key_dim()),
          value_dim(in.value_dim()),
          scale(static_cast<T>(in.scale)) {}

    /// Multiplications of one phase, roughly.
    int64_t work() const {
        return num_tokens * num_value_heads * (std::min(num_tokens, kSide) + key_dim) * value_dim;
    }
    const T* query(int64_t token, int64_t key_head) const {
        return q + token * q_stride + key_head * key_dim;
    }
    const T* key(int64_t token, int64_t key_head) const { return k + token * k_stride + key_head * key_dim; }
    const T* value(int64_t token, int64_t head) const { return v + token * v_stride + head * value_dim; }
    const T* log_decay(int64_t token, int64_t head) const {
        return g ? g + token * g_stride + head : nullptr;
    }
    void load_beta(const Chunk& chunk, int64_t head, T* out) const {
        for (int64_t i = 0; i < chunk.length; ++i)
            out[i] = beta[(chunk.first_token + i) * beta_stride + head];
    }
    ChunkDecay<T>& load_decay(const Chunk& chunk, int64_t head, bool with_matrix,
                              ChunkDecay<T>& decay) const {
        decay.compute(chunk.length, log_decay(chunk.first_token, head), g_stride, with_matrix);
        return decay;
    }

    /// Offsets into DeltaSaved and into states [num_states, H_v, d_k, d_v].
    int64_t inverse_at(const Chunk& chunk, int64_t head) const {
        return num_value_heads * chunk.square_offset + head * chunk.length * chunk.length;
    }
    int64_t corrected_at(int64_t token, int64_t head) const {
        return (head * num_tokens + token) * value_dim;
    }
    int64_t state_at(int64_t index, int64_t head) const {
        return (index * num_value_heads + head) * key_dim * value_dim;
    }
};

/// Columns of the state that one task of a scan over chunks carries: all, or fewer where documents and heads
/// are too few to give every thread work. Columns do not mix, so this changes no bit.
inline int64_t state_columns_per_task(int64_t num_scans, int64_t value_dim, int64_t threads) {
    int64_t columns = value_dim;
    while (columns > 16 && num_scans * ((value_dim + columns - 1) / columns) < 2 * threads)
        columns = (columns / 2 + 15) / 16 * 16;
    return columns;
}

/// A task of such a scan.
struct StateScan {
    int64_t document, head, first_column, num_columns;

    StateScan(int64_t task, int64_t num_heads, int64_t value_dim, int64_t columns) {
        const int64_t blocks = (value_dim + columns - 1) / columns;
        first_column = task % blocks * columns;
        num_columns = std::min(columns, value_dim - first_column);
        head = task / blocks % num_heads;
        document = task / blocks / num_heads;
    }
};

} // namespace braid::ops::cpu
