#include "ops/recurrence/channel_chunk_cpu.h"
#include "ops/recurrence/channel_rule_kernels.h"

namespace braid::ops::cpu {
namespace {

/// The backward pass, in the letters of channel_rule_forward_cpu.cpp. With dU = Pᵀ dO + K_ dS_1 and, of the
/// delta rule, Y = Tᵀ dU:
///     dS_0 = diag(e^b_L) dS_1 + scale (Q ⊙ e^b)ᵀ dO - (diag(beta) K^)ᵀ Y;   dV = diag(beta) Y, or dU;
///     dP = tril(dO Uᵀ);   dM = diag(beta) W with W = -stril(Y Uᵀ).
/// A key is read where it meets the state, with e^b_i, and written to the state, with e^-b_j. Call the
/// gradients of the two r (before beta) and w; that of q has e^b_i too. Then
///     dk = beta r + w;   dbeta_i = Y_i V_i + k_i r_i;   db = q ⊙ dq + beta k ⊙ r - k ⊙ w,
/// to which the last row's b_L adds what reaches S_1.
template <typename T>
class ChannelBackward {
  public:
    ChannelBackward(const DeltaInputs& in, const ChunkPlan& plan, const ChannelSaved& saved,
                    const Tensor& d_output, const DeltaBorders& borders, const DeltaGradients& gradients,
                    Allocator& allocator)
        : view_(in),
          plan_(plan),
          borders_(borders),
          is_delta_(in.beta.defined()),
          pairs_(saved.pairs.data<T>()),
          inverse_(is_delta_ ? saved.delta.inverse.data<T>() : nullptr),
          corrected_(is_delta_ ? saved.delta.corrected.data<T>() : nullptr),
          d_output_(d_output.data<T>()),
          dq_(gradients.q.data<T>()),
          dk_(gradients.k.data<T>()),
          dv_(gradients.v.data<T>()),
          dg_(gradients.g.data<T>()),
          dbeta_(is_delta_ ? gradients.beta.data<T>() : nullptr),
          d_updates_(Tensor::empty(allocator, {view_.num_value_heads, view_.num_tokens, view_.value_dim},
                                   dtype_of<T>())),
          states_(Tensor::empty(allocator, state_shape(), dtype_of<T>())),
          d_states_(Tensor::empty(allocator, state_shape(), dtype_of<T>())),
          scratch_(allocator,
                   14 * kSide * view_.key_dim + 5 * kSide * view_.value_dim + 3 * kSide * kSide + 2048),
          sums_(allocator, (kSide + 1) * view_.key_dim) {}

    void run() {
        for_each_chunk(view_, plan_, [&](const Chunk& c, int64_t head) { gradient_within_chunk(c, head); });
        for_each_state(view_, plan_, [&](const StateScan& task) { scan_states(task); });
        for_each_state(view_, plan_, [&](const StateScan& task) { scan_gradients(task); });
        for_each_chunk(view_, plan_, [&](const Chunk& c, int64_t head) { write_gradients(c, head); });
    }

  private:
    /// The working arrays of write_gradients.
    struct Work {
        T *queries, *keys;         // [L, d_k]
        T *dq, *read, *written;    // [L, d_k]: without scale; r; w
        T *left, *left_q, *left_k; // [L, d_k]: e^(b - ref), times q, times beta k
        T *right, *right_keys;     // [L, d_k]: e^(ref - b), times k
        T* sums;                   // [L, d_k]
        T *of_pairs, *of_products; // scratch matrices: scale dP; W
        T beta[kSide];
    };

    Shape state_shape() const {
        return {plan_.num_states, view_.num_value_heads, view_.value_dim, view_.key_dim}; // transposed
    }

    /// The part of dU that comes from the chunk's own outputs.
    void gradient_within_chunk(const Chunk& chunk, int64_t head) {
        const int64_t length = chunk.length, dv = view_.value_dim;
        T* d_output = scratch_.arrays().take(length * dv);
        pack_rows(length, dv, d_output_at(chunk.first_token, head), view_.output_stride(), d_output);
        multiply_lower_transposed(length, dv, pairs_ + view_.inverse_at(chunk, head), length, d_output, dv,
                                  d_updates(chunk.first_token, head), dv, false);
    }

    /// The states between chunks again, transposed: S_1ᵀ = S_0ᵀ diag(e^b_L) + Uᵀ K_.
    void scan_states(const StateScan& task) {
        const int64_t dk = view_.key_dim, dv = view_.value_dim, head = task.head;
        auto arrays = scratch_.arrays();
        double* memory = sums_.arrays().take(kSide * dk);
        T *keys = arrays.take(kSide * dk), *total = arrays.take(dk);
        const auto last = plan_.document_chunks[static_cast<size_t>(task.document) + 1];
        if (borders_.initial.defined())
            transpose(dk, task.num_columns, border_columns(borders_.initial, task), dv,
                      state_columns(states_, task.document, task), dk);
        for (auto c = plan_.document_chunks[static_cast<size_t>(task.document)]; c + 1 < last; ++c) {
            const Chunk& chunk = plan_.chunks[static_cast<size_t>(c)];
            const ChannelSums<T> b(view_, chunk, head, memory);
            decayed_keys(chunk, head, b, keys, total);
            T* next = state_columns(states_, chunk.state_out, task);
            const T* state = chunk.state_in < 0 ? nullptr : state_columns(states_, chunk.state_in, task);
            for (int64_t j = 0; state && j < task.num_columns; ++j)
                for (int64_t d = 0; d < dk; ++d) next[j * dk + d] = total[d] * state[j * dk + d];
            const auto [updates, stride] = written_rows<T>(view_, corrected_, chunk, head);
            multiply_transposed(task.num_columns, dk, chunk.length, updates + task.first_column, stride, keys,
                                dk, next, dk, state != nullptr);
        }
    }

    /// From the last chunk to the first: dU, of the delta rule Y in its place, and the gradients of states,
    /// kept transposed.
    void scan_gradients(const StateScan& task) {
        const int64_t dk = view_.key_dim, dv = view_.value_dim, width = task.num_columns, head = task.head;
        auto arrays = scratch_.arrays();
        double* memory = sums_.arrays().take(kSide * dk);
        T *keys = arrays.take(2 * kSide * dk), *total = arrays.take(dk);
        T *stacked = arrays.take(2 * kSide * width), *d_errors = arrays.take(kSide * width);
        T* d_state = arrays.take(dk * width); // of the state after the chunk at hand
        const auto first_chunk = plan_.document_chunks[static_cast<size_t>(task.document)],
                   last = plan_.document_chunks[static_cast<size_t>(task.document) + 1] - 1;
        for (auto c = last; c >= first_chunk; --c) {
            const Chunk& chunk = plan_.chunks[static_cast<size_t>(c)];
            const int64_t length = chunk.length, first = chunk.first_token;
            const ChannelSums<T> b(view_, chunk, head, memory);
            if (c == last && chunk.state_out >= 0) {
                copy_matrix(dk, width, border_columns(borders_.d_last, task), dv, d_state, width);
                transpose(dk, width, d_state, width, state_columns(d_states_, chunk.state_out, task), dk);
            }
            T* y = d_updates(first, head) + task.first_column;
            copy_matrix(length, width, y, dv, d_errors, width);
            if (chunk.state_out >= 0) {
                decayed_keys(chunk, head, b, keys, total);
                multiply(length, width, dk, keys, dk, d_state, width, d_errors, width, true);
            }
            if (is_delta_)
                multiply_lower_transposed(length, width, inverse_ + view_.inverse_at(chunk, head), length,
                                          d_errors, width, y, dv, false);
            else
                copy_matrix(length, width, d_errors, width, y, dv);
            if (chunk.state_in < 0) return;
            if (chunk.state_out >= 0)
                for (int64_t d = 0; d < dk; ++d)
                    for (int64_t j = 0; j < width; ++j) d_state[d * width + j] *= total[d];
            const int64_t rows = stack_readers(chunk, task, b, y, keys, stacked);
            multiply_transposed(dk, width, rows, keys, dk, stacked, width, d_state, width,
                                chunk.state_out >= 0);
            if (c == first_chunk)
                copy_matrix(dk, width, d_state, width, border_columns(borders_.d_initial, task), dv);
            else
                transpose(dk, width, d_state, width, state_columns(d_states_, chunk.state_in, task), dk);
        }
    }

    /// What read S_0, and with what gradient: scale Q ⊙ e^b above -diag(beta) K^, and dO above Y; their rows.
    int64_t stack_readers(const Chunk& chunk, const StateScan& task, const ChannelSums<T>& b, const T* y,
                          T* keys, T* stacked) const {
        const int64_t length = chunk.length, dk = view_.key_dim, dv = view_.value_dim,
                      width = task.num_columns, first = chunk.first_token;
        copy_matrix(length, width, d_output_at(first, task.head) + task.first_column, view_.output_stride(),
                    stacked, width);
        b.since(nullptr, 0, length, keys);
        if (is_delta_) {
            T beta[kSide];
            load_beta(view_, chunk, task.head, beta);
            copy_matrix(length, width, y, dv, stacked + length * width, width);
            for (int64_t i = 0; i < length; ++i)
                for (int64_t d = 0; d < dk; ++d)
                    keys[(length + i) * dk + d] =
                        -beta[i] * view_.key(first + i, task.head)[d] * keys[i * dk + d];
        }
        for (int64_t i = 0; i < length; ++i)
            for (int64_t d = 0; d < dk; ++d)
                keys[i * dk + d] *= view_.scale * view_.query(first + i, task.head)[d];
        return is_delta_ ? 2 * length : length;
    }

    void write_gradients(const Chunk& chunk, int64_t head) {
        const int64_t length = chunk.length, dk = view_.key_dim;
        auto arrays = scratch_.arrays();
        auto doubles = sums_.arrays();
        const ChannelSums<T> b(view_, chunk, head, doubles.take(length * dk));
        double* middle = doubles.take(dk);
        const auto rows = [&] { return arrays.take(length * dk); };
        Work work{.queries = rows(),
                  .keys = rows(),
                  .dq = rows(),
                  .read = rows(),
                  .written = rows(),
                  .left = rows(),
                  .left_q = rows(),
                  .left_k = rows(),
                  .right = rows(),
                  .right_keys = rows(),
                  .sums = rows(),
                  .of_pairs = arrays.take(kSide * kSide),
                  .of_products = arrays.take(kSide * kSide),
                  .beta = {}};
        pack_rows(length, dk, view_.query(chunk.first_token, head), view_.q_stride, work.queries);
        pack_rows(length, dk, view_.key(chunk.first_token, head), view_.k_stride, work.keys);
        for (T* x : {work.dq, work.read, work.written}) std::fill_n(x, length * dk, T(0));
        if (is_delta_) load_beta(view_, chunk, head, work.beta);
        T* of_last = arrays.take(dk); // the gradient of b_L
        std::fill_n(of_last, dk, T(0));
        find_pair_gradients(chunk, head, arrays, work);
        for_each_block(b, 0, length, middle, [&](const TriangleBlock& block) { add_block(b, block, work); });
        if (chunk.state_in >= 0) add_through_state(chunk, head, b, arrays, work);
        if (chunk.state_out >= 0) add_to_state(chunk, head, b, arrays, work, of_last);
        write_rows(chunk, head, work, of_last);
    }

    /// scale dP and W; dv and the part of dbeta that is Y V.
    void find_pair_gradients(const Chunk& chunk, int64_t head, typename ThreadScratch<T>::Arrays arrays,
                             Work& work) {
        const int64_t length = chunk.length, dv = view_.value_dim, first = chunk.first_token;
        T *d_output = arrays.take(length * dv), *transposed = arrays.take(length * dv);
        const auto [updates, stride] = written_rows<T>(view_, corrected_, chunk, head);
        transpose(length, dv, updates, stride, transposed, length);
        pack_rows(length, dv, d_output_at(first, head), view_.output_stride(), d_output);
        multiply_to_lower(length, dv, d_output, dv, transposed, length, work.of_pairs);
        const T* y = d_updates(first, head);
        if (is_delta_) multiply_to_lower(length, dv, y, dv, transposed, length, work.of_products);
        // Zeros right of the diagonal: blocks have bands of their own.
        for (int64_t i = 0; i < length; ++i) {
            T *pair = work.of_pairs + i * kSide, *product = work.of_products + i * kSide;
            for (int64_t j = 0; j <= i; ++j) pair[j] *= view_.scale;
            std::fill(pair + i + 1, pair + length, T(0));
            if (!is_delta_) continue;
            for (int64_t j = 0; j < i; ++j) product[j] = -product[j];
            std::fill(product + i, product + length, T(0));
        }
        T factor[kSide];
        for (int64_t i = 0; i < length; ++i) factor[i] = is_delta_ ? work.beta[i] : T(1);
        scale_rows(length, dv, factor, y, dv, dv_ + view_.output_at(first, head), view_.output_stride());
        for (int64_t i = 0; is_delta_ && i < length; ++i)
            dbeta_[(first + i) * view_.num_value_heads + head] =
                dot(y + i * dv, view_.value(first + i, head), dv);
    }

    /// What a block of dP and dM gives to dq, r and w.
    void add_block(const ChannelSums<T>& b, const TriangleBlock& block, Work& work) const {
        const int64_t dk = view_.key_dim, rows = block.end_row - block.first_row,
                      columns = block.end_column - block.first_column, row = block.first_row * dk,
                      column = block.first_column * dk, at = block.first_row * kSide + block.first_column;
        b.since(block.ref, block.first_row, block.end_row, work.left);
        b.until(block.ref, block.first_column, block.end_column, work.right);
        for (int64_t i = 0; i < rows * dk; ++i) work.left_q[i] = work.queries[row + i] * work.left[i];
        for (int64_t i = 0; i < columns * dk; ++i) work.right_keys[i] = work.keys[column + i] * work.right[i];
        const auto to_rows = [&](const T* weights, T* out) {
            if (block.is_diagonal())
                multiply_lower(rows, dk, weights + at, kSide, work.right_keys, dk, work.sums, dk, false);
            else
                multiply(rows, dk, columns, weights + at, kSide, work.right_keys, dk, work.sums, dk, false);
            for (int64_t i = 0; i < rows * dk; ++i) out[row + i] += work.sums[i] * work.left[i];
        };
        const auto to_columns = [&](const T* weights, const T* left, bool accumulate) {
            if (block.is_diagonal())
                multiply_lower_transposed(rows, dk, weights + at, kSide, left, dk, work.sums, dk, accumulate);
            else
                multiply_transposed(columns, dk, rows, weights + at, kSide, left, dk, work.sums, dk,
                                    accumulate);
        };
        to_rows(work.of_pairs, work.dq);
        if (is_delta_) to_rows(work.of_products, work.read);
        to_columns(work.of_pairs, work.left_q, false);
        if (is_delta_) {
            for (int64_t i = 0; i < rows; ++i)
                for (int64_t d = 0; d < dk; ++d)
                    work.left_k[i * dk + d] =
                        work.beta[block.first_row + i] * work.keys[row + i * dk + d] * work.left[i * dk + d];
            to_columns(work.of_products, work.left_k, true);
        }
        for (int64_t i = 0; i < columns * dk; ++i) work.written[column + i] += work.sums[i] * work.right[i];
    }

    /// What reached O and U through S_0: scale e^b ⊙ dO S_0ᵀ to dq, -e^b ⊙ Y S_0ᵀ to r.
    void add_through_state(const Chunk& chunk, int64_t head, const ChannelSums<T>& b,
                           typename ThreadScratch<T>::Arrays arrays, Work& work) const {
        const int64_t length = chunk.length, dk = view_.key_dim, dv = view_.value_dim;
        const T* state = states_.template data<T>() + view_.state_at(chunk.state_in, head);
        T* d_output = arrays.take(length * dv);
        pack_rows(length, dv, d_output_at(chunk.first_token, head), view_.output_stride(), d_output);
        b.since(nullptr, 0, length, work.left);
        multiply(length, dk, dv, d_output, dv, state, dk, work.sums, dk, false);
        for (int64_t i = 0; i < length * dk; ++i) work.dq[i] += view_.scale * work.left[i] * work.sums[i];
        if (!is_delta_) return;
        multiply(length, dk, dv, d_updates(chunk.first_token, head), dv, state, dk, work.sums, dk, false);
        for (int64_t i = 0; i < length * dk; ++i) work.read[i] -= work.left[i] * work.sums[i];
    }

    /// What the keys and decays gave to S_1: e^(b_L - b) ⊙ U dS_1ᵀ to w; to b_L that and e^b_L <S_0, dS_1>.
    void add_to_state(const Chunk& chunk, int64_t head, const ChannelSums<T>& b,
                      typename ThreadScratch<T>::Arrays arrays, Work& work, T* of_last) const {
        const int64_t length = chunk.length, dk = view_.key_dim, dv = view_.value_dim;
        const T* d_state = d_states_.template data<T>() + view_.state_at(chunk.state_out, head);
        const auto [updates, stride] = written_rows<T>(view_, corrected_, chunk, head);
        T* packed = arrays.take(length * dv);
        pack_rows(length, dv, updates, stride, packed);
        multiply(length, dk, dv, packed, dv, d_state, dk, work.sums, dk, false);
        b.until(b.row(length - 1), 0, length, work.left);
        for (int64_t d = 0; d < length * dk; ++d) work.left[d] = work.sums[d] * work.left[d];
        for (int64_t i = 0; i < length; ++i)
            for (int64_t d = 0; d < dk; ++d) {
                const T term = work.left[i * dk + d];
                work.written[i * dk + d] += term;
                of_last[d] += work.keys[i * dk + d] * term;
            }
        if (chunk.state_in < 0) return;
        const T* state = states_.template data<T>() + view_.state_at(chunk.state_in, head);
        std::fill_n(work.sums, dk, T(0));
        for (int64_t j = 0; j < dv; ++j)
            for (int64_t d = 0; d < dk; ++d) work.sums[d] += state[j * dk + d] * d_state[j * dk + d];
        b.since(nullptr, length - 1, length, work.left);
        for (int64_t d = 0; d < dk; ++d) of_last[d] += work.left[d] * work.sums[d];
    }

    /// dq, dk, dg and the rest of dbeta.
    void write_rows(const Chunk& chunk, int64_t head, Work& work, const T* of_last) {
        const int64_t length = chunk.length, dk = view_.key_dim, first = chunk.first_token,
                      stride = view_.num_key_heads * dk;
        double* suffix = sums_.arrays().take(dk); // the block's sums have been read; b is a running sum, so
        for (int64_t d = 0; d < dk; ++d) suffix[d] = static_cast<double>(of_last[d]); // g reaches all later b
        for (int64_t i = length - 1; i >= 0; --i) {
            const T *q = work.queries + i * dk, *k = work.keys + i * dk, *read = work.read + i * dk,
                    *written = work.written + i * dk, *dq = work.dq + i * dk;
            const T beta = is_delta_ ? work.beta[i] : T(0);
            const int64_t at = (first + i) * stride + head * dk;
            for (int64_t d = 0; d < dk; ++d) {
                dq_[at + d] = dq[d];
                dk_[at + d] = beta * read[d] + written[d];
                suffix[d] += static_cast<double>(q[d] * dq[d] + k[d] * (beta * read[d] - written[d]));
                dg_[at + d] = static_cast<T>(suffix[d]);
            }
            if (is_delta_) dbeta_[(first + i) * view_.num_value_heads + head] += dot(k, read, dk);
        }
    }

    /// K_ = k ⊙ e^(b_L - b), and e^b_L.
    void decayed_keys(const Chunk& chunk, int64_t head, const ChannelSums<T>& b, T* keys, T* total) const {
        const int64_t dk = view_.key_dim;
        b.until(b.row(chunk.length - 1), 0, chunk.length, keys);
        for (int64_t i = 0; i < chunk.length; ++i)
            multiply_elements(dk, view_.key(chunk.first_token + i, head), keys + i * dk);
        b.since(nullptr, chunk.length - 1, chunk.length, total);
    }
    const T* d_output_at(int64_t token, int64_t head) const {
        return d_output_ + view_.output_at(token, head);
    }
    T* d_updates(int64_t token, int64_t head) const {
        return d_updates_.template data<T>() + view_.corrected_at(token, head);
    }
    T* state_columns(const Tensor& states, int64_t index, const StateScan& task) const {
        return states.data<T>() + view_.state_at(index, task.head) + task.first_column * view_.key_dim;
    }
    T* border_columns(const Tensor& states, const StateScan& task) const {
        return states.data<T>() + view_.state_at(task.document, task.head) + task.first_column;
    }

    const DeltaView<T> view_;
    const ChunkPlan& plan_;
    const DeltaBorders& borders_;
    const bool is_delta_;
    const T *pairs_, *inverse_, *corrected_, *d_output_;
    T *dq_, *dk_, *dv_, *dg_, *dbeta_;
    Tensor d_updates_;         // [H, T, d_v]: dU, then Y
    Tensor states_, d_states_; // [num_states, H, d_v, d_k]: S and dS transposed, between chunks
    ThreadScratch<T> scratch_;
    ThreadScratch<double> sums_;
};

} // namespace

void channel_rule_backward(const DeltaInputs& in, const ChunkPlan& plan, const ChannelSaved& saved,
                           const Tensor& d_output, const DeltaBorders& borders,
                           const DeltaGradients& gradients, Allocator& allocator) {
    const DeltaInputs wide = widened(in);
    const Tensor wide_d_output = widened(d_output);
    const Rounded dq(gradients.q), dk(gradients.k), dv(gradients.v);
    const DeltaGradients wide_gradients{dq, dk, dv, gradients.g, gradients.beta};
    dispatch_float(saved.pairs.dtype(), [&]<typename T>() {
        ChannelBackward<T>(wide, plan, saved, wide_d_output, borders, wide_gradients, allocator).run();
    });
}

} // namespace braid::ops::cpu
