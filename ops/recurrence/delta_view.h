#pragma once

#include "ops/recurrence/delta_rule_kernels.h"

namespace braid::ops {

/// The delta rule's inputs as pointers, in host or device memory. Stored: the type of q, k, v and o.
/// Functions are constexpr so that kernels call them too.
template <typename Stored>
struct DeltaView {
    using T = Accumulation<Stored>;

    const Stored *q, *k, *v;
    const T *g, *beta;                                           // null without decay, without the delta rule
    int64_t q_stride, k_stride, v_stride, g_stride, beta_stride; // between tokens
    int64_t num_tokens, num_key_heads, num_value_heads, heads_per_key;
    int key_dim, value_dim;
    T scale;
    const Chunk* chunks = nullptr; // of a plan, in the same memory
    const int64_t* document_chunks = nullptr;

    explicit DeltaView(const DeltaInputs& in)
        : q(in.q.data<Stored>()),
          k(in.k.data<Stored>()),
          v(in.v.data<Stored>()),
          g(in.g.defined() ? in.g.data<T>() : nullptr),
          beta(in.beta.defined() ? in.beta.data<T>() : nullptr),
          q_stride(in.q.row_stride()),
          k_stride(in.k.row_stride()),
          v_stride(in.v.row_stride()),
          g_stride(in.g.defined() ? in.g.row_stride() : 0),
          beta_stride(in.beta.defined() ? in.beta.row_stride() : 0),
          num_tokens(in.num_tokens()),
          num_key_heads(in.num_key_heads()),
          num_value_heads(in.num_value_heads()),
          heads_per_key(in.heads_per_key()),
          key_dim(static_cast<int>(in.key_dim())),
          value_dim(static_cast<int>(in.value_dim())),
          scale(static_cast<T>(in.scale)) {}

    constexpr const Stored* query(int64_t token, int64_t key_head) const {
        return q + token * q_stride + key_head * key_dim;
    }
    constexpr const Stored* key(int64_t token, int64_t key_head) const {
        return k + token * k_stride + key_head * key_dim;
    }
    constexpr const Stored* value(int64_t token, int64_t head) const {
        return v + token * v_stride + head * value_dim;
    }
    /// Offset into [T, H_v, d_v], rows output_stride() apart.
    constexpr int64_t output_at(int64_t token, int64_t head) const {
        return (token * num_value_heads + head) * value_dim;
    }
    constexpr int64_t output_stride() const { return num_value_heads * value_dim; }
    /// Offsets into DeltaSaved and into states [num_states, H_v, d_k, d_v].
    constexpr int64_t inverse_at(const Chunk& chunk, int64_t head) const {
        return num_value_heads * chunk.square_offset + head * chunk.length * chunk.length;
    }
    constexpr int64_t corrected_at(int64_t token, int64_t head) const {
        return (head * num_tokens + token) * value_dim;
    }
    constexpr int64_t state_at(int64_t index, int64_t head) const {
        return (index * num_value_heads + head) * key_dim * value_dim;
    }
};

} // namespace braid::ops
