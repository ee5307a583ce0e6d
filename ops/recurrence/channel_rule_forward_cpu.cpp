#include "ops/recurrence/channel_chunk_cpu.h"
#include "ops/recurrence/channel_rule_kernels.h"

namespace braid::ops::cpu {
namespace {

/// The forward pass in the three phases of delta_rule_forward_cpu.cpp. With K^ = K ⊙ e^b and K_ = K ⊙ e^(b_L
/// - b), and the pairs M_ij = sum_d k_id k_jd e^(b_id - b_jd) for j < i and P_ij the same of q:
///     U = (I + diag(beta) M)^-1 diag(beta) (V - K^ S_0), or V without the delta rule;
///     O = scale (Q ⊙ e^b) S_0 + P U;   S_1 = diag(e^b_L) S_0 + K_ᵀ U.
template <typename T>
class ChannelForward {
  public:
    ChannelForward(const DeltaInputs& in, const ChunkPlan& plan, const Tensor& o, const ChannelSaved& saved,
                   const Tensor& states, Allocator& allocator)
        : view_(in),
          plan_(plan),
          is_delta_(in.beta.defined()),
          o_(o.data<T>()),
          pairs_(saved.pairs.data<T>()),
          inverse_(is_delta_ ? saved.delta.inverse.data<T>() : nullptr),
          corrected_(is_delta_ ? saved.delta.corrected.data<T>() : nullptr),
          states_(states.data<T>()),
          scratch_(allocator, 6 * kSide * view_.key_dim + 4 * kSide * kSide + kSide * view_.value_dim + 1024),
          sums_(allocator, (kSide + 1) * view_.key_dim) {}

    void run() {
        for_each_chunk(view_, plan_, [&](const Chunk& chunk, int64_t head) { make_pairs(chunk, head); });
        for_each_state(view_, plan_, [&](const StateScan& task) { scan(task); });
        for_each_chunk(view_, plan_, [&](const Chunk& chunk, int64_t head) { write_output(chunk, head); });
    }

  private:
    /// P, and with the delta rule T = (I + diag(beta) M)^-1.
    void make_pairs(const Chunk& chunk, int64_t head) {
        const int64_t length = chunk.length, dk = view_.key_dim, first = chunk.first_token;
        auto arrays = scratch_.arrays();
        auto doubles = sums_.arrays();
        const ChannelSums<T> b(view_, chunk, head, doubles.take(length * dk));
        double* middle = doubles.take(dk);
        T *left = arrays.take(length * dk), *left_keys = arrays.take(length * dk);
        T *right = arrays.take(length * dk), *right_transposed = arrays.take(length * dk);
        T *pairs = arrays.take(kSide * kSide), *products = arrays.take(kSide * kSide);
        std::fill_n(pairs, kSide * kSide, T(0));
        if (is_delta_) std::fill_n(products, kSide * kSide, T(0));
        for_each_block(b, 0, length, middle, [&](const TriangleBlock& block) {
            const int64_t rows = block.end_row - block.first_row,
                          columns = block.end_column - block.first_column;
            b.since(block.ref, block.first_row, block.end_row, left);
            b.until(block.ref, block.first_column, block.end_column, right);
            multiply_rows(rows, view_.key(first + block.first_row, head), view_.k_stride, T(1), left,
                          left_keys);
            multiply_rows(rows, view_.query(first + block.first_row, head), view_.q_stride, view_.scale, left,
                          left);
            multiply_rows(columns, view_.key(first + block.first_column, head), view_.k_stride, T(1), right,
                          right);
            transpose(columns, dk, right, dk, right_transposed, columns);
            const auto into = [&](const T* x, T* out) {
                out += block.first_row * kSide + block.first_column;
                if (block.is_diagonal())
                    multiply_to_lower(rows, dk, x, dk, right_transposed, columns, out);
                else
                    multiply(rows, columns, dk, x, dk, right_transposed, columns, out, kSide, false);
            };
            into(left, pairs);
            if (is_delta_) into(left_keys, products);
        });
        T* out = pairs_ + view_.inverse_at(chunk, head);
        for (int64_t i = 0; i < length; ++i) {
            std::copy_n(pairs + i * kSide, i + 1, out + i * length);
            std::fill_n(out + i * length + i + 1, length - i - 1, T(0));
        }
        if (is_delta_) invert(chunk, head, products, pairs);
    }

    /// T = (I + diag(beta) M)^-1, of which `system` holds M.
    void invert(const Chunk& chunk, int64_t head, T* system, T* solution) {
        const int64_t length = chunk.length;
        T beta[kSide];
        load_beta(view_, chunk, head, beta);
        for (int64_t i = 0; i < length; ++i)
            for (int64_t j = 0; j < i; ++j) system[i * kSide + j] *= beta[i];
        invert_unit_lower(length, system, solution);
        T* out = inverse_ + view_.inverse_at(chunk, head);
        for (int64_t i = 0; i < length; ++i) std::copy_n(solution + i * kSide, length, out + i * length);
    }

    /// U of every chunk, with the delta rule, and the state at its end.
    void scan(const StateScan& task) {
        const int64_t dk = view_.key_dim, dv = view_.value_dim, head = task.head, width = task.num_columns;
        auto arrays = scratch_.arrays();
        auto doubles = sums_.arrays();
        double* memory = doubles.take(kSide * dk);
        T *keys = arrays.take(kSide * dk), *total = arrays.take(dk), *errors = arrays.take(kSide * width);
        const auto last = plan_.document_chunks[static_cast<size_t>(task.document) + 1];
        for (auto c = plan_.document_chunks[static_cast<size_t>(task.document)]; c < last; ++c) {
            const Chunk& chunk = plan_.chunks[static_cast<size_t>(c)];
            const int64_t length = chunk.length;
            const ChannelSums<T> b(view_, chunk, head, memory);
            const T* state = chunk.state_in < 0 ? nullptr : state_columns(chunk.state_in, task);
            if (is_delta_) correct(chunk, task, b, state, keys, errors);
            if (chunk.state_out < 0) continue;
            T* next = state_columns(chunk.state_out, task);
            b.until(b.row(length - 1), 0, length, keys);
            multiply_rows(length, view_.key(chunk.first_token, head), view_.k_stride, T(1), keys, keys);
            b.since(nullptr, length - 1, length, total);
            for (int64_t i = 0; state && i < dk; ++i)
                scale_rows(1, width, total + i, state + i * dv, dv, next + i * dv, dv);
            const auto [updates, stride] = written_rows<T>(view_, corrected_, chunk, head);
            multiply_transposed(dk, width, length, keys, dk, updates + task.first_column, stride, next, dv,
                                state != nullptr);
        }
    }

    /// U = T diag(beta) (V - K^ S_0).
    void correct(const Chunk& chunk, const StateScan& task, const ChannelSums<T>& b, const T* state, T* keys,
                 T* errors) {
        const int64_t length = chunk.length, dk = view_.key_dim, dv = view_.value_dim, head = task.head,
                      first = chunk.first_token, width = task.num_columns;
        T beta[kSide];
        load_beta(view_, chunk, head, beta);
        scale_rows(length, width, beta, view_.value(first, head) + task.first_column, view_.v_stride, errors,
                   width);
        if (state) {
            b.since(nullptr, 0, length, keys);
            for (int64_t i = 0; i < length; ++i)
                multiply_rows(1, view_.key(first + i, head), 0, -beta[i], keys + i * dk, keys + i * dk);
            multiply(length, width, dk, keys, dk, state, dv, errors, width, true);
        }
        multiply_lower(length, width, inverse_ + view_.inverse_at(chunk, head), length, errors, width,
                       corrected_ + view_.corrected_at(first, head) + task.first_column, dv, false);
    }

    void write_output(const Chunk& chunk, int64_t head) {
        const int64_t length = chunk.length, dk = view_.key_dim, dv = view_.value_dim,
                      first = chunk.first_token, o_stride = view_.output_stride();
        auto arrays = scratch_.arrays();
        auto doubles = sums_.arrays();
        T* o = o_ + view_.output_at(first, head);
        if (chunk.state_in >= 0) {
            const ChannelSums<T> b(view_, chunk, head, doubles.take(length * dk));
            T* queries = arrays.take(length * dk);
            b.since(nullptr, 0, length, queries);
            multiply_rows(length, view_.query(first, head), view_.q_stride, view_.scale, queries, queries);
            multiply(length, dv, dk, queries, dk, states_ + view_.state_at(chunk.state_in, head), dv, o,
                     o_stride, false);
        }
        const auto [updates, stride] = written_rows<T>(view_, corrected_, chunk, head);
        multiply_lower(length, dv, pairs_ + view_.inverse_at(chunk, head), length, updates, stride, o,
                       o_stride, chunk.state_in >= 0);
    }

    /// y_i = factor x_i y'_i for rows of d_k.
    void multiply_rows(int64_t rows, const T* x, int64_t x_stride, T factor, const T* decays, T* y) const {
        const int64_t dk = view_.key_dim;
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t d = 0; d < dk; ++d)
                y[i * dk + d] = factor * x[i * x_stride + d] * decays[i * dk + d];
    }
    T* state_columns(int64_t index, const StateScan& task) const {
        return states_ + view_.state_at(index, task.head) + task.first_column;
    }

    const DeltaView<T> view_;
    const ChunkPlan& plan_;
    const bool is_delta_;
    T *o_, *pairs_, *inverse_, *corrected_, *states_;
    ThreadScratch<T> scratch_;
    ThreadScratch<double> sums_;
};

} // namespace

template <>
void exp_of_double(const double* x, int64_t n, double* y) {
    exp(x, y, n);
}

template <>
void exp_of_double(const double* x, int64_t n, float* y) {
    constexpr int64_t kBlock = 256;
    float lost[kBlock];
    for (int64_t first = 0; first < n; first += kBlock) {
        const int64_t count = std::min(kBlock, n - first);
        for (int64_t i = 0; i < count; ++i) {
            y[first + i] = static_cast<float>(x[first + i]);
            lost[i] = static_cast<float>(x[first + i] - static_cast<double>(y[first + i]));
        }
        exp(y + first, y + first, count);
        for (int64_t i = 0; i < count; ++i) y[first + i] += y[first + i] * lost[i];
    }
}

void channel_rule_forward(const DeltaInputs& in, const ChunkPlan& plan, const Tensor& o,
                          const ChannelSaved& saved, const Tensor& states, Allocator& allocator) {
    const DeltaInputs wide = widened(in);
    const Rounded result(o);
    dispatch_float(saved.pairs.dtype(), [&]<typename T>() {
        ChannelForward<T>(wide, plan, result, saved, states, allocator).run();
    });
}

} // namespace braid::ops::cpu
