#pragma once

#include "ops/cpu/parallel.h"
#include "ops/cpu/widen.h"
#include "ops/recurrence/delta_chunk_cpu.h"
#include "ops/recurrence/delta_view.h"

namespace braid::ops::cpu {

inline DeltaInputs widened(const DeltaInputs& in) {
    return {widened(in.q), widened(in.k), widened(in.v), in.g, in.beta, in.scale};
}

/// The log-decay of a token, others view.g_stride elements further on; null without decay.
template <typename T>
const T* log_decay(const DeltaView<T>& view, int64_t token, int64_t head) {
    return view.g ? view.g + token * view.g_stride + head : nullptr;
}

template <typename T>
void load_beta(const DeltaView<T>& view, const Chunk& chunk, int64_t head, T* out) {
    for (int64_t i = 0; i < chunk.length; ++i)
        out[i] = view.beta[(chunk.first_token + i) * view.beta_stride + head];
}

template <typename T>
void load_decay(const DeltaView<T>& view, const Chunk& chunk, int64_t head, bool with_matrix,
                ChunkDecay<T>& decay) {
    decay.compute(chunk.length, log_decay(view, chunk.first_token, head), view.g_stride, with_matrix);
}

/// The rows that a chunk writes to the state, and how far they are apart: those of `corrected`, or where that
/// is null, without the delta rule, the values.
template <typename T>
std::pair<const T*, int64_t> written_rows(const DeltaView<T>& view, const T* corrected, const Chunk& chunk,
                                          int64_t head) {
    if (!corrected) return {view.value(chunk.first_token, head), view.v_stride};
    return {corrected + view.corrected_at(chunk.first_token, head), view.value_dim};
}

/// Multiplications of one phase, roughly.
template <typename T>
int64_t work_of(const DeltaView<T>& view) {
    return view.num_tokens * view.num_value_heads * (std::min(view.num_tokens, kSide) + view.key_dim) *
           view.value_dim;
}

/// Runs body(chunk, key head) for each of them, in parallel.
template <typename T, typename Body>
void for_each_chunk(const DeltaView<T>& view, const ChunkPlan& plan, const Body& body) {
    for_each_task(plan.num_chunks() * view.num_key_heads, work_of(view), [&](int64_t task) {
        body(plan.chunks[static_cast<size_t>(task / view.num_key_heads)], task % view.num_key_heads);
    });
}

/// Columns of one head's state that are carried over the chunks of one document.
struct StateScan {
    int64_t document, head, first_column, num_columns;
};

/// Runs body(StateScan) for the states of all documents and heads, in parallel: all columns at once, or fewer
/// where documents and heads are too few to give every thread work. Columns do not mix, so this changes no
/// bit.
template <typename T, typename Body>
void for_each_state(const DeltaView<T>& view, const ChunkPlan& plan, const Body& body) {
    const int64_t value_dim = view.value_dim, heads = view.num_value_heads,
                  scans = plan.num_documents() * heads;
    int64_t columns = value_dim;
    const auto num_blocks = [&] { return (value_dim + columns - 1) / columns; };
    while (columns > 16 && scans * num_blocks() < 2 * num_threads()) columns = (columns / 2 + 15) / 16 * 16;
    const int64_t blocks = num_blocks();
    for_each_task(scans * blocks, work_of(view), [&](int64_t task) {
        const int64_t first = task % blocks * columns, scan = task / blocks;
        body(StateScan{scan / heads, scan % heads, first, std::min(columns, value_dim - first)});
    });
}

} // namespace braid::ops::cpu
