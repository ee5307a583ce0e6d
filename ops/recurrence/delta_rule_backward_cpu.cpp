#include "ops/cpu/vector_math.h"
#include "ops/recurrence/delta_view_cpu.h"

namespace braid::ops::cpu {
namespace {

/// The backward pass. With V' = T diag(beta) (V - diag(e^b) K S_0) differentiated as it stands, Y = Tᵀ dV' is
/// the gradient of the bracket's product with beta, and all of 1.7's X, W, U terms follow from it:
/// X = -Y S_0ᵀ and Gamma = -stril(Y V'ᵀ) ⊙ D. Value heads of one key head are summed as matrices [L, L]
/// before they meet q and k, which turns three products per value head into three per key head.
template <typename T>
class DeltaBackward {
  public:
    DeltaBackward(const DeltaInputs& in, const ChunkPlan& plan, const DeltaSaved& saved,
                  const Tensor& d_output, const DeltaBorders& borders, const DeltaGradients& gradients,
                  Allocator& allocator)
        : view_(in),
          plan_(plan),
          borders_(borders),
          is_delta_(in.beta.defined()),
          inverse_(is_delta_ ? saved.inverse.data<T>() : nullptr),
          corrected_(is_delta_ ? saved.corrected.data<T>() : nullptr),
          d_output_(d_output.data<T>()),
          dq_(gradients.q.data<T>()),
          dk_(gradients.k.data<T>()),
          dv_(gradients.v.data<T>()),
          dg_(gradients.g.defined() ? gradients.g.data<T>() : nullptr),
          dbeta_(is_delta_ ? gradients.beta.data<T>() : nullptr),
          errors_(Tensor::empty(allocator, {view_.num_value_heads, view_.num_tokens, view_.value_dim},
                                dtype_of<T>())),
          states_(Tensor::empty(allocator, state_shape(), dtype_of<T>())),
          d_states_(Tensor::empty(allocator, state_shape(), dtype_of<T>())),
          scratch_(allocator, scratch_elements()) {}

    void run() {
        const auto chunk_phase = [&](auto phase) {
            for_each_chunk(view_, plan_,
                           [&](const Chunk& chunk, int64_t key_head) { (this->*phase)(chunk, key_head); });
        };
        const auto scan_phase = [&](auto phase) {
            for_each_state(view_, plan_, [&](const StateScan& task) { (this->*phase)(task); });
        };
        chunk_phase(&DeltaBackward::gradient_within_chunk);
        scan_phase(&DeltaBackward::scan_states);
        scan_phase(&DeltaBackward::scan_gradients);
        chunk_phase(&DeltaBackward::write_gradients);
    }

  private:
    /// The working arrays of write_gradients for one chunk and key head.
    struct Work {
        T *queries, *keys, *transposed_keys;   // [L, d_k], [d_k, L]
        T *query_key, *key_key;                // Q Kᵀ, K Kᵀ
        T *query_weights, *key_weights;        // sums over value heads: scale E; diag(beta) Gamma
        T* stacked;                            // [2 L, d_v]: dO above Y
        T* transposed_corrected;               // [d_v, L]
        T *output_corrected, *error_corrected; // dO V'ᵀ and Y V'ᵀ, then E and -Gamma
        T* through_state;                      // [2 L, d_k]
        T *dq, *dk;                            // [L, d_k]
        ChunkDecay<T> decay{};
        T beta[kSide]{}, factor[kSide]{}, d_beta[kSide]{}, d_sum[kSide]{}; // d_sum: the gradient of b
    };

    Shape state_shape() const {
        return {plan_.num_states, view_.num_value_heads, view_.value_dim, view_.key_dim}; // transposed
    }
    int64_t scratch_elements() const {
        return 6 * kSide * kSide + 7 * kSide * view_.key_dim + 3 * kSide * view_.value_dim + 1024;
    }

    /// The part of dV' that comes from the chunk's own outputs: tril(scale Q Kᵀ ⊙ D)ᵀ dO, into errors_.
    void gradient_within_chunk(const Chunk& chunk, int64_t key_head) {
        const int64_t length = chunk.length, dk = view_.key_dim, dv = view_.value_dim,
                      first = chunk.first_token;
        auto arrays = scratch_.arrays();
        T* queries = arrays.take(length * dk);
        T* transposed_keys = arrays.take(length * dk);
        T* products = arrays.take(kSide * kSide);
        T* weights = arrays.take(kSide * kSide);
        T* d_output = arrays.take(length * dv);
        ChunkDecay<T> decay;
        T factor[kSide];
        pack_rows(length, dk, view_.query(first, key_head), view_.q_stride, queries);
        transpose(length, dk, view_.key(first, key_head), view_.k_stride, transposed_keys, length);
        multiply_to_lower(length, dk, queries, dk, transposed_keys, length, products);
        std::fill_n(factor, length, view_.scale);
        for (int64_t head = key_head * view_.heads_per_key; head < (key_head + 1) * view_.heads_per_key;
             ++head) {
            load_decay(view_, chunk, head, true, decay);
            weigh_rows(length, factor, products, decay.matrix, weights);
            pack_rows(length, dv, d_output_at(first, head), view_.output_stride(), d_output);
            multiply_lower_transposed(length, dv, weights, kSide, d_output, dv, errors(first, head), dv,
                                      false);
        }
    }

    /// The states between chunks again, transposed, from the saved V': S_1ᵀ = e^{b_L} S_0ᵀ + V'ᵀ K^.
    void scan_states(const StateScan& task) {
        const int64_t dk = view_.key_dim, dv = view_.value_dim, head = task.head;
        auto arrays = scratch_.arrays();
        T* keys = arrays.take(kSide * dk);
        ChunkDecay<T> decay;
        const auto last = plan_.document_chunks[static_cast<size_t>(task.document) + 1];
        if (borders_.initial.defined())
            transpose(dk, task.num_columns, border_columns(borders_.initial, task), dv,
                      state_columns(states_, task.document, task), dk);
        for (auto c = plan_.document_chunks[static_cast<size_t>(task.document)]; c < last; ++c) {
            if (c + 1 == last) return;
            const Chunk& chunk = plan_.chunks[static_cast<size_t>(c)];
            load_decay(view_, chunk, head, false, decay);
            scale_rows(chunk.length, dk, decay.to_end,
                       view_.key(chunk.first_token, head / view_.heads_per_key), view_.k_stride, keys, dk);
            T* next = state_columns(states_, chunk.state_out, task);
            if (chunk.state_in >= 0)
                scale_all(task.num_columns * dk, decay.total, state_columns(states_, chunk.state_in, task),
                          next);
            const auto [updates, stride] = written_rows<T>(view_, corrected_, chunk, head);
            multiply_transposed(task.num_columns, dk, chunk.length, updates + task.first_column, stride, keys,
                                dk, next, dk, chunk.state_in >= 0);
        }
    }

    /// From the last chunk to the first: Y = Tᵀ dV' over errors_, and the gradients of the states,
    /// dS_0 = e^{b_L} dS_1 + scale (diag(e^b) Q)ᵀ dO - (diag(beta e^b) K)ᵀ Y, kept transposed.
    void scan_gradients(const StateScan& task) {
        const int64_t dk = view_.key_dim, dv = view_.value_dim, width = task.num_columns, head = task.head;
        const int64_t key_head = head / view_.heads_per_key;
        auto arrays = scratch_.arrays();
        T* keys = arrays.take(2 * kSide * dk);
        T* stacked = arrays.take(2 * kSide * width);
        T* d_errors = arrays.take(kSide * width);
        T* d_state = arrays.take(dk * width); // of the state after the chunk at hand
        ChunkDecay<T> decay;
        const auto first_chunk = plan_.document_chunks[static_cast<size_t>(task.document)],
                   last = plan_.document_chunks[static_cast<size_t>(task.document) + 1] - 1;
        for (auto c = last; c >= first_chunk; --c) {
            const Chunk& chunk = plan_.chunks[static_cast<size_t>(c)];
            const int64_t length = chunk.length, first = chunk.first_token;
            load_decay(view_, chunk, head, false, decay);
            T* y = errors(first, head) + task.first_column;
            copy_matrix(length, width, y, dv, d_errors, width);
            if (c == last && chunk.state_out >= 0) {
                copy_matrix(dk, width, border_columns(borders_.d_last, task), dv, d_state, width);
                transpose(dk, width, d_state, width, state_columns(d_states_, chunk.state_out, task), dk);
            }
            if (chunk.state_out >= 0) {
                scale_rows(length, dk, decay.to_end, view_.key(first, key_head), view_.k_stride, keys, dk);
                multiply(length, width, dk, keys, dk, d_state, width, d_errors, width, true);
            }
            if (is_delta_)
                multiply_lower_transposed(length, width, inverse_ + view_.inverse_at(chunk, head), length,
                                          d_errors, width, y, dv, false);
            else
                copy_matrix(length, width, d_errors, width, y, dv);
            if (chunk.state_in < 0) return;
            if (chunk.state_out >= 0) scale_all(dk * width, decay.total, d_state, d_state);
            const int64_t rows = stack_readers(chunk, task, decay, y, keys, stacked);
            multiply_transposed(dk, width, rows, keys, dk, stacked, width, d_state, width,
                                chunk.state_out >= 0);
            if (c == first_chunk)
                copy_matrix(dk, width, d_state, width, border_columns(borders_.d_initial, task), dv);
            else
                transpose(dk, width, d_state, width, state_columns(d_states_, chunk.state_in, task), dk);
        }
    }

    /// What read S_0, and with what gradient: scale diag(e^b) Q above -diag(beta e^b) K, and dO above Y;
    /// their rows.
    int64_t stack_readers(const Chunk& chunk, const StateScan& task, const ChunkDecay<T>& decay, const T* y,
                          T* keys, T* stacked) const {
        const int64_t length = chunk.length, dk = view_.key_dim, width = task.num_columns,
                      first = chunk.first_token, key_head = task.head / view_.heads_per_key;
        T beta[kSide], factor[kSide];
        copy_matrix(length, width, d_output_at(first, task.head) + task.first_column, view_.output_stride(),
                    stacked, width);
        for (int64_t i = 0; i < length; ++i) factor[i] = view_.scale * decay.from_start[i];
        scale_rows(length, dk, factor, view_.query(first, key_head), view_.q_stride, keys, dk);
        if (!is_delta_) return length;
        load_beta(view_, chunk, task.head, beta);
        copy_matrix(length, width, y, view_.value_dim, stacked + length * width, width);
        for (int64_t i = 0; i < length; ++i) factor[i] = -beta[i] * decay.from_start[i];
        scale_rows(length, dk, factor, view_.key(first, key_head), view_.k_stride, keys + length * dk, dk);
        return 2 * length;
    }

    /// dq, dk, dv, dbeta and dg of one chunk for the value heads of one key head.
    void write_gradients(const Chunk& chunk, int64_t key_head) {
        const int64_t length = chunk.length, dk = view_.key_dim, first = chunk.first_token;
        Work work = make_work(chunk, key_head);
        for (int64_t head = key_head * view_.heads_per_key; head < (key_head + 1) * view_.heads_per_key;
             ++head)
            add_head(chunk, head, work);
        multiply_lower(length, dk, work.query_weights, kSide, work.keys, dk, work.dq, dk, true);
        multiply_lower_transposed(length, dk, work.query_weights, kSide, work.queries, dk, work.dk, dk, true);
        if (is_delta_) {
            multiply_lower(length, dk, work.key_weights, kSide, work.keys, dk, work.dk, dk, true);
            multiply_lower_transposed(length, dk, work.key_weights, kSide, work.keys, dk, work.dk, dk, true);
        }
        const int64_t stride = view_.num_key_heads * dk;
        copy_matrix(length, dk, work.dq, dk, dq_ + first * stride + key_head * dk, stride);
        copy_matrix(length, dk, work.dk, dk, dk_ + first * stride + key_head * dk, stride);
    }

    Work make_work(const Chunk& chunk, int64_t key_head) const {
        const int64_t length = chunk.length, dk = view_.key_dim, dv = view_.value_dim;
        auto arrays = scratch_.arrays();
        const auto rows = [&] { return arrays.take(length * dk); };
        const auto square = [&] { return arrays.take(kSide * kSide); };
        Work work{.queries = rows(),
                  .keys = rows(),
                  .transposed_keys = rows(),
                  .query_key = square(),
                  .key_key = square(),
                  .query_weights = square(),
                  .key_weights = square(),
                  .stacked = arrays.take(2 * length * dv),
                  .transposed_corrected = arrays.take(length * dv),
                  .output_corrected = square(),
                  .error_corrected = square(),
                  .through_state = arrays.take(2 * length * dk),
                  .dq = rows(),
                  .dk = rows()};
        pack_rows(length, dk, view_.query(chunk.first_token, key_head), view_.q_stride, work.queries);
        pack_rows(length, dk, view_.key(chunk.first_token, key_head), view_.k_stride, work.keys);
        transpose(length, dk, work.keys, dk, work.transposed_keys, length);
        multiply_to_lower(length, dk, work.queries, dk, work.transposed_keys, length, work.query_key);
        if (is_delta_)
            multiply_to_lower(length, dk, work.keys, dk, work.transposed_keys, length, work.key_key);
        std::fill_n(work.query_weights, kSide * kSide, T(0));
        std::fill_n(work.key_weights, kSide * kSide, T(0));
        std::fill_n(work.dq, length * dk, T(0));
        std::fill_n(work.dk, length * dk, T(0));
        return work;
    }

    void add_head(const Chunk& chunk, int64_t head, Work& work) {
        const int64_t length = chunk.length, dv = view_.value_dim, first = chunk.first_token;
        const auto [corrected, stride] = written_rows<T>(view_, corrected_, chunk, head);
        load_decay(view_, chunk, head, true, work.decay);
        if (is_delta_) load_beta(view_, chunk, head, work.beta);
        pack_rows(length, dv, d_output_at(first, head), view_.output_stride(), work.stacked);
        pack_rows(length, dv, errors(first, head), dv, work.stacked + length * dv);
        transpose(length, dv, corrected, stride, work.transposed_corrected, length);
        multiply_to_lower(length, dv, work.stacked, dv, work.transposed_corrected, length,
                          work.output_corrected);
        if (is_delta_)
            multiply_to_lower(length, dv, work.stacked + length * dv, dv, work.transposed_corrected, length,
                              work.error_corrected);
        add_within_chunk(length, work);
        if (chunk.state_in >= 0) add_through_state(chunk, head, work);
        if (chunk.state_out >= 0) add_to_state(chunk, head, corrected, stride, work);
        write_value_gradients(chunk, head, work);
    }

    /// E and Gamma: their sums over value heads, and what they give to dbeta and db.
    void add_within_chunk(int64_t length, Work& work) const {
        std::fill_n(work.d_sum, length, T(0));
        T terms[kSide], beta_terms[kSide];
        for (int64_t i = 0; i < length; ++i) {
            const int64_t row = i * kSide, end = band_end(i, length);
            // The diagonal of E gives equal amounts to both ends of b_i - b_i, Gamma has none: left out here.
            const T diagonal = view_.scale * work.output_corrected[row + i];
            work.output_corrected[row + i] = 0;
            if (!is_delta_) {
                add_plain_row(end, view_.scale, work.decay.matrix + row, work.query_key + row,
                              work.output_corrected + row, work.query_weights + row, terms, work.d_sum);
                work.query_weights[row + i] += diagonal;
                work.d_sum[i] += sum(terms, end);
                continue;
            }
            work.error_corrected[row + i] = 0;
            add_row(end, view_.scale, work.beta[i], work.decay.matrix + row, work.query_key + row,
                    work.key_key + row, work.output_corrected + row, work.error_corrected + row,
                    work.query_weights + row, work.key_weights + row, terms, beta_terms, work.d_sum);
            work.query_weights[row + i] += diagonal;
            work.d_beta[i] = sum(beta_terms, end);
            work.d_sum[i] += sum(terms, end);
        }
    }

    /// The elements of one row, all of them products of what stands at the same place. terms: what each gives
    /// to db of its row, and takes from db of its column; beta_terms: what it gives to dbeta of its row.
    static void add_row(int64_t end, T scale, T beta, const T* __restrict decay,
                        const T* __restrict query_key, const T* __restrict key_key,
                        const T* __restrict output_corrected, const T* __restrict error_corrected,
                        T* __restrict query_weights, T* __restrict key_weights, T* __restrict terms,
                        T* __restrict beta_terms, T* __restrict d_sum) {
        for (int64_t j = 0; j < end; ++j) {
            const T weight = scale * decay[j] * output_corrected[j], gamma = -decay[j] * error_corrected[j];
            const T beta_term = gamma * key_key[j], term = weight * query_key[j] + beta * beta_term;
            query_weights[j] += weight;
            key_weights[j] += beta * gamma;
            beta_terms[j] = beta_term;
            terms[j] = term;
            d_sum[j] -= term;
        }
    }

    /// The same without the delta rule.
    static void add_plain_row(int64_t end, T scale, const T* __restrict decay, const T* __restrict query_key,
                              const T* __restrict output_corrected, T* __restrict query_weights,
                              T* __restrict terms, T* __restrict d_sum) {
        for (int64_t j = 0; j < end; ++j) {
            const T weight = scale * decay[j] * output_corrected[j], term = weight * query_key[j];
            query_weights[j] += weight;
            terms[j] = term;
            d_sum[j] -= term;
        }
    }

    /// What reached the outputs and V' through S_0: scale diag(e^b) dO S_0ᵀ and X = -Y S_0ᵀ.
    void add_through_state(const Chunk& chunk, int64_t head, Work& work) const {
        const int64_t length = chunk.length, dk = view_.key_dim, dv = view_.value_dim;
        const T* state = states_.template data<T>() + view_.state_at(chunk.state_in, head);
        T *to_queries = work.through_state, *to_keys = work.through_state + length * dk;
        multiply(is_delta_ ? 2 * length : length, dk, dv, work.stacked, dv, state, dk, to_queries, dk, false);
        for (int64_t i = 0; i < length; ++i) {
            const T from_start = work.decay.from_start[i];
            const T query_term =
                view_.scale * from_start * dot(to_queries + i * dk, work.queries + i * dk, dk);
            if (!is_delta_) {
                work.d_sum[i] += query_term;
                continue;
            }
            const T key_term = -from_start * dot(to_keys + i * dk, work.keys + i * dk, dk);
            work.d_beta[i] += key_term;
            work.d_sum[i] += query_term + work.beta[i] * key_term;
        }
        for (int64_t i = 0; i < length; ++i) work.factor[i] = view_.scale * work.decay.from_start[i];
        add_scaled_rows(length, dk, work.factor, to_queries, dk, work.dq, dk);
        if (!is_delta_) return;
        for (int64_t i = 0; i < length; ++i) work.factor[i] = -work.beta[i] * work.decay.from_start[i];
        add_scaled_rows(length, dk, work.factor, to_keys, dk, work.dk, dk);
    }

    /// What the keys and decays gave to the state after the chunk: V' dS_1ᵀ.
    void add_to_state(const Chunk& chunk, int64_t head, const T* corrected, int64_t stride,
                      Work& work) const {
        const int64_t length = chunk.length, dk = view_.key_dim, dv = view_.value_dim;
        const T* d_state = d_states_.template data<T>() + view_.state_at(chunk.state_out, head);
        T* to_keys = work.through_state;
        multiply(length, dk, dv, corrected, stride, d_state, dk, to_keys, dk, false);
        T total = 0;
        for (int64_t i = 0; i < length; ++i) {
            const T term = work.decay.to_end[i] * dot(to_keys + i * dk, work.keys + i * dk, dk);
            work.d_sum[i] -= term;
            total += term;
        }
        if (chunk.state_in >= 0)
            total += work.decay.total *
                     dot(states_.template data<T>() + view_.state_at(chunk.state_in, head), d_state, dk * dv);
        work.d_sum[length - 1] += total;
        add_scaled_rows(length, dk, work.decay.to_end, to_keys, dk, work.dk, dk);
    }

    void write_value_gradients(const Chunk& chunk, int64_t head, Work& work) const {
        const int64_t length = chunk.length, dv = view_.value_dim, first = chunk.first_token;
        const T* y = work.stacked + length * dv;
        T* dv_rows = dv_ + view_.output_at(first, head);
        if (is_delta_)
            scale_rows(length, dv, work.beta, y, dv, dv_rows, view_.output_stride());
        else
            copy_matrix(length, dv, y, dv, dv_rows, view_.output_stride());
        double suffix = 0; // b is a running sum, so each g reaches all later b
        for (int64_t i = length - 1; i >= 0; --i) {
            const int64_t at = (first + i) * view_.num_value_heads + head;
            if (is_delta_) dbeta_[at] = work.d_beta[i] + dot(y + i * dv, view_.value(first + i, head), dv);
            suffix += static_cast<double>(work.d_sum[i]);
            if (dg_) dg_[at] = static_cast<T>(suffix);
        }
    }

    static void scale_all(int64_t count, T factor, const T* x, T* y) {
        for (int64_t i = 0; i < count; ++i) y[i] = factor * x[i];
    }
    const T* d_output_at(int64_t token, int64_t head) const {
        return d_output_ + view_.output_at(token, head);
    }
    T* errors(int64_t token, int64_t head) const {
        return errors_.template data<T>() + view_.corrected_at(token, head);
    }
    T* state_columns(const Tensor& states, int64_t index, const StateScan& task) const {
        return states.data<T>() + view_.state_at(index, task.head) + task.first_column * view_.key_dim;
    }
    /// The same of a state [d_k, d_v] at the border of a document.
    T* border_columns(const Tensor& states, const StateScan& task) const {
        return states.data<T>() + view_.state_at(task.document, task.head) + task.first_column;
    }

    const DeltaView<T> view_;
    const ChunkPlan& plan_;
    const DeltaBorders& borders_;
    const bool is_delta_;
    const T *inverse_, *corrected_, *d_output_;
    T *dq_, *dk_, *dv_, *dg_, *dbeta_;
    Tensor errors_;            // [H_v, T, d_v]: dV', then Y
    Tensor states_, d_states_; // [num_states, H_v, d_v, d_k]: S and dS transposed, between chunks
    ThreadScratch<T> scratch_;
};

} // namespace

void delta_rule_backward(const DeltaInputs& in, const ChunkPlan& plan, const DeltaSaved& saved,
                         const Tensor& d_output, const DeltaBorders& borders, const DeltaGradients& gradients,
                         Allocator& allocator) {
    const DeltaInputs wide = widened(in);
    const Tensor wide_d_output = widened(d_output);
    const Rounded dq(gradients.q), dk(gradients.k), dv(gradients.v);
    const DeltaGradients wide_gradients{dq, dk, dv, gradients.g, gradients.beta};
    dispatch_float(accumulation_dtype(in.v.dtype()), [&]<typename T>() {
        DeltaBackward<T>(wide, plan, saved, wide_d_output, borders, wide_gradients, allocator).run();
    });
}

double delta_rule_backward_flops(const DeltaInputs& in, const ChunkPlan& plan) {
    const double key_heads = static_cast<double>(in.num_key_heads()),
                 heads = static_cast<double>(in.num_value_heads());
    const int64_t dk = in.key_dim(), dv = in.value_dim();
    double flops = 0;
    for (const Chunk& chunk : plan.chunks) {
        const double state_product = 2.0 * static_cast<double>(chunk.length) * static_cast<double>(dk * dv);
        const bool delta = in.beta.defined();
        const int read = chunk.state_in < 0 ? 0 : delta ? 4 : 2, written = chunk.state_out >= 0 ? 3 : 0;
        flops += key_heads * (delta ? 7 : 4) * lower_flops(chunk.length, dk) +
                 heads * ((delta ? 4 : 2) * lower_flops(chunk.length, dv) + (read + written) * state_product);
    }
    return flops;
}

} // namespace braid::ops::cpu
