#include "ops/recurrence/delta_view_cpu.h"

namespace braid::ops::cpu {
namespace {

/// The forward pass in three phases: what a chunk is by itself, the scan that carries states from chunk to
/// chunk, and the outputs. The equations are those of deltanet's chunked form with W = T diag(beta e^b) K
/// never made: V' = T diag(beta) (V - diag(e^b) K S_0), which takes fewer operations.
template <typename T>
class DeltaForward {
  public:
    DeltaForward(const DeltaInputs& in, const ChunkPlan& plan, const Tensor& o, const DeltaSaved& saved,
                 const Tensor& states, Allocator& allocator)
        : view_(in),
          plan_(plan),
          is_delta_(in.beta.defined()),
          o_(o.data<T>()),
          inverse_(is_delta_ ? saved.inverse.data<T>() : nullptr),
          corrected_(is_delta_ ? saved.corrected.data<T>() : nullptr),
          states_(states.data<T>()),
          scratch_(allocator, 3 * kSide * (kSide + view_.key_dim) + kSide * view_.value_dim + 1024) {}

    void run() {
        if (is_delta_)
            for_each_chunk(view_, plan_,
                           [&](const Chunk& chunk, int64_t key_head) { invert(chunk, key_head); });
        for_each_state(view_, plan_, [&](const StateScan& task) { scan(task); });
        for_each_chunk(view_, plan_,
                       [&](const Chunk& chunk, int64_t key_head) { write_output(chunk, key_head); });
    }

  private:
    /// T = (I + stril(diag(beta) (K Kᵀ ⊙ D)))^-1 for the value heads of one key head.
    void invert(const Chunk& chunk, int64_t key_head) {
        const int64_t length = chunk.length, dk = view_.key_dim;
        auto arrays = scratch_.arrays();
        T* keys = arrays.take(length * dk);
        T* keys_transposed = arrays.take(length * dk);
        T* products = arrays.take(kSide * kSide);
        T* system = arrays.take(kSide * kSide);
        T* solution = arrays.take(kSide * kSide);
        ChunkDecay<T> decay;
        T beta[kSide];
        pack_rows(length, dk, view_.key(chunk.first_token, key_head), view_.k_stride, keys);
        transpose(length, dk, keys, dk, keys_transposed, length);
        multiply_to_lower(length, dk, keys, dk, keys_transposed, length, products);
        for (int64_t head = key_head * view_.heads_per_key; head < (key_head + 1) * view_.heads_per_key;
             ++head) {
            load_decay(view_, chunk, head, true, decay);
            load_beta(view_, chunk, head, beta);
            weigh_rows(length, beta, products, decay.matrix, system);
            invert_unit_lower(length, system, solution);
            T* out = inverse_ + view_.inverse_at(chunk, head);
            for (int64_t i = 0; i < length; ++i) std::copy_n(solution + i * kSide, length, out + i * length);
        }
    }

    /// V' of every chunk and the state at its end.
    void scan(const StateScan& task) {
        const int64_t dk = view_.key_dim, dv = view_.value_dim, head = task.head;
        const int64_t key_head = head / view_.heads_per_key, width = task.num_columns;
        auto arrays = scratch_.arrays();
        T* keys = arrays.take(kSide * dk);
        T* errors = arrays.take(kSide * width);
        ChunkDecay<T> decay;
        const auto last = plan_.document_chunks[static_cast<size_t>(task.document) + 1];
        for (auto c = plan_.document_chunks[static_cast<size_t>(task.document)]; c < last; ++c) {
            const Chunk& chunk = plan_.chunks[static_cast<size_t>(c)];
            const int64_t length = chunk.length, first = chunk.first_token;
            load_decay(view_, chunk, head, false, decay);
            const T* state = chunk.state_in < 0 ? nullptr : state_columns(chunk.state_in, task);
            if (is_delta_) correct(chunk, task, decay, state, keys, errors);
            if (chunk.state_out < 0) continue;
            T* next = state_columns(chunk.state_out, task);
            scale_rows(length, dk, decay.to_end, view_.key(first, key_head), view_.k_stride, keys, dk);
            for (int64_t i = 0; state && i < dk; ++i)
                scale_rows(1, width, &decay.total, state + i * dv, dv, next + i * dv, dv);
            const auto [updates, stride] = written_rows<T>(view_, corrected_, chunk, head);
            multiply_transposed(dk, width, length, keys, dk, updates + task.first_column, stride, next, dv,
                                state != nullptr);
        }
    }

    /// Columns of V' of one chunk.
    void correct(const Chunk& chunk, const StateScan& task, const ChunkDecay<T>& decay, const T* state,
                 T* keys, T* errors) {
        const int64_t length = chunk.length, dk = view_.key_dim, dv = view_.value_dim, head = task.head,
                      first = chunk.first_token, width = task.num_columns;
        T beta[kSide], factor[kSide];
        load_beta(view_, chunk, head, beta);
        scale_rows(length, width, beta, view_.value(first, head) + task.first_column, view_.v_stride, errors,
                   width);
        if (state) {
            for (int64_t i = 0; i < length; ++i) factor[i] = -beta[i] * decay.from_start[i];
            scale_rows(length, dk, factor, view_.key(first, head / view_.heads_per_key), view_.k_stride, keys,
                       dk);
            multiply(length, width, dk, keys, dk, state, dv, errors, width, true);
        }
        multiply_lower(length, width, inverse_ + view_.inverse_at(chunk, head), length, errors, width,
                       corrected_ + view_.corrected_at(first, head) + task.first_column, dv, false);
    }

    /// O = scale (diag(e^b) Q S_0 + tril(Q Kᵀ ⊙ D) V') for the value heads of one key head.
    void write_output(const Chunk& chunk, int64_t key_head) {
        const int64_t length = chunk.length, dk = view_.key_dim, dv = view_.value_dim,
                      first = chunk.first_token;
        auto arrays = scratch_.arrays();
        T* queries = arrays.take(length * dk);
        T* scaled = arrays.take(length * dk); // the transposed keys, then scaled queries
        T* products = arrays.take(kSide * kSide);
        T* weights = arrays.take(kSide * kSide);
        ChunkDecay<T> decay;
        T factor[kSide];
        pack_rows(length, dk, view_.query(first, key_head), view_.q_stride, queries);
        transpose(length, dk, view_.key(first, key_head), view_.k_stride, scaled, length);
        multiply_to_lower(length, dk, queries, dk, scaled, length, products);
        const int64_t o_stride = view_.output_stride();
        for (int64_t head = key_head * view_.heads_per_key; head < (key_head + 1) * view_.heads_per_key;
             ++head) {
            load_decay(view_, chunk, head, true, decay);
            T* o = o_ + view_.output_at(first, head);
            if (chunk.state_in >= 0) {
                for (int64_t i = 0; i < length; ++i) factor[i] = view_.scale * decay.from_start[i];
                scale_rows(length, dk, factor, queries, dk, scaled, dk);
                multiply(length, dv, dk, scaled, dk, states_ + view_.state_at(chunk.state_in, head), dv, o,
                         o_stride, false);
            }
            std::fill_n(factor, length, view_.scale);
            weigh_rows(length, factor, products, decay.matrix, weights);
            const auto [updates, stride] = written_rows<T>(view_, corrected_, chunk, head);
            multiply_lower(length, dv, weights, kSide, updates, stride, o, o_stride, chunk.state_in >= 0);
        }
    }

    T* state_columns(int64_t index, const StateScan& task) const {
        return states_ + view_.state_at(index, task.head) + task.first_column;
    }

    const DeltaView<T> view_;
    const ChunkPlan& plan_;
    const bool is_delta_;
    T *o_, *inverse_, *corrected_, *states_;
    ThreadScratch<T> scratch_;
};

} // namespace

void delta_rule_forward(const DeltaInputs& in, const ChunkPlan& plan, const Tensor& o,
                        const DeltaSaved& saved, const Tensor& states, Allocator& allocator) {
    const DeltaInputs wide = widened(in);
    const Rounded result(o);
    dispatch_float(states.dtype(), [&]<typename T>() {
        DeltaForward<T>(wide, plan, result, saved, states, allocator).run();
    });
}

double delta_rule_forward_flops(const DeltaInputs& in, const ChunkPlan& plan) {
    const double key_heads = static_cast<double>(in.num_key_heads()),
                 heads = static_cast<double>(in.num_value_heads());
    const int64_t dk = in.key_dim(), dv = in.value_dim();
    double flops = 0;
    for (const Chunk& chunk : plan.chunks) {
        const double state_product = 2.0 * static_cast<double>(chunk.length) * static_cast<double>(dk * dv);
        const int delta = in.beta.defined() ? 1 : 0, read = chunk.state_in >= 0 ? 1 + delta : 0,
                  written = chunk.state_out >= 0 ? 1 : 0;
        const double inverse = static_cast<double>(chunk.length * chunk.length * chunk.length) / 3;
        flops += key_heads * (1 + delta) * lower_flops(chunk.length, dk) +
                 heads * (delta * inverse + (1 + delta) * lower_flops(chunk.length, dv) +
                          (read + written) * state_product);
    }
    return flops;
}

} // namespace braid::ops::cpu
