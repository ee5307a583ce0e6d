#include "ops/recurrence/linear_recurrence.h"

#include "ops/basic/elementwise.h"
#include "ops/compose/chunks.h"
#include "ops/compose/decay.h"
#include "ops/compose/matrices.h"
#include "ops/compose/pointwise.h"
#include "ops/compose/scan.h"
#include "ops/recurrence/chunked_recurrence.h"

namespace braid::ops {
namespace {

// Work within a chunk grows with its length, that of the states between chunks falls with it.
constexpr int64_t kLength = 16;

/// The recurrence of one call, with every chunk of every head a matrix of kLength rows.
class ChunkedRecurrence {
  public:
    ChunkedRecurrence(Context& ctx, const LinearRecurrence& in, const DocumentsPtr& documents)
        : ctx_(ctx),
          in_(in),
          heads_(in.v.dim(1)),
          dk_(in.k.dim(2)),
          dv_(in.v.dim(2)),
          wide_(accumulation_dtype(in.v.dtype())),
          by_key_head_(*ctx.allocator, *documents, in.k.dim(1), kLength, heads_ / in.k.dim(1)),
          by_head_(*ctx.allocator, *documents, heads_, kLength) {
        q_ = matrices(scale(ctx, padded(in.q, by_key_head_, dk_), in.scale));
        k_ = matrices(padded(in.k, by_key_head_, dk_));
        v_ = matrices(padded(in.v, by_head_, dv_));
        has_decay_ = in.log_decay.defined();
        if (!has_decay_) return;
        // A decay per head is one of all its channels: only between the rows of a chunk is it cheaper.
        by_channel_ = in.log_decay.rank() == 3;
        b_ = cumulative_sum(ctx, padded(in.log_decay, by_head_, by_channel_ ? dk_ : 1), by_head_.within());
    }

    RecurrenceResult run(const Tensor& initial) {
        const Tensor from_start = has_decay_ ? exp(ctx_, b_) : Tensor();
        const Tensor q_start = decayed(q_, from_start), k_start = decayed(k_, from_start);
        const Tensor k_end = has_decay_ ? decayed(k_, exp(ctx_, to_end())) : k_;
        Tensor u = v_, w; // U = u - w S_0
        if (in_.beta.defined()) {
            const Tensor beta = rows_to_matrices(padded(in_.beta, by_head_, 1));
            const Tensor system = multiply_rows(ctx_, products(k_), beta);
            u = solve_unit_lower(ctx_, system, multiply_rows(ctx_, v_, beta));
            w = solve_unit_lower(ctx_, system, multiply_rows(ctx_, k_start, beta));
        }
        const ScannedStates states = scan(k_end, u, w, initial);
        const Tensor before = states.before.view({by_head_.num_chunks() * heads_, dk_, dv_});
        if (w.defined()) u = add(ctx_, u, scale(ctx_, batched_matmul(ctx_, w, before), -1));
        const Tensor o =
            add(ctx_, batched_matmul(ctx_, q_start, before), lower_triangular_matmul(ctx_, products(q_), u));
        const Tensor rows = scatter_rows(ctx_, o.view({o.dim(0) * kLength, dv_}), by_head_.rows());
        return {cast(ctx_, rows, in_.v.dtype()).view(in_.v.shape()),
                states.last.view({states.last.dim(0), heads_, dk_, dv_})};
    }

  private:
    Tensor padded(const Tensor& x, const PaddedChunks& chunks, int64_t size) {
        const Tensor rows = packed(ctx_, cast(ctx_, x, wide_));
        return gather_rows(ctx_, rows.view({x.numel() / size, size}), chunks.rows());
    }
    static Tensor matrices(const Tensor& rows) {
        return rows.view({rows.dim(0) / kLength, kLength, rows.dim(1)});
    }
    static Tensor rows_to_matrices(const Tensor& rows) { return rows.view({rows.dim(0) / kLength, kLength}); }

    /// x [B, n, d] times factors [B n, d] or [B n, 1].
    Tensor decayed(const Tensor& x, const Tensor& factors) {
        if (!factors.defined()) return x;
        return by_channel_ ? multiply(ctx_, x, matrices(factors))
                           : multiply_rows(ctx_, x, rows_to_matrices(factors));
    }
    /// b_L of each matrix, and b_L - b of its rows.
    Tensor last() { return gather_rows(ctx_, b_, by_head_.last_rows()); }
    Tensor to_end() { return add(ctx_, gather_rows(ctx_, last(), by_head_.matrices()), scale(ctx_, b_, -1)); }

    /// x Kᵀ ⊙ D; above the diagonal it does not count.
    Tensor products(const Tensor& x) {
        if (has_decay_ && by_channel_) return decayed_products(ctx_, x, k_, matrices(b_));
        const Tensor plain = batched_matmul(ctx_, x, k_, false, true);
        return has_decay_ ? multiply(ctx_, plain, decay_matrix(ctx_, rows_to_matrices(b_))) : plain;
    }

    /// The states between chunks: S' = (diag(e^b_L) - k_endᵀ w) S + k_endᵀ u.
    ScannedStates scan(const Tensor& k_end, const Tensor& u, const Tensor& w, const Tensor& initial) {
        const int64_t chunks = by_head_.num_chunks(), documents = by_head_.runs()->num_documents();
        const Tensor update = batched_matmul(ctx_, k_end, u, true);
        const Tensor decay = total_decay(chunks);
        if (!w.defined()) {
            const Tensor start = initial.defined() ? initial.view({documents, heads_ * dk_, dv_}) : initial;
            return scan_states(ctx_, decay, update.view({chunks, heads_ * dk_, dv_}), by_head_.runs(), start);
        }
        const Tensor moved = scale(ctx_, batched_matmul(ctx_, k_end, w, true), -1);
        const Tensor transition = add(ctx_, moved, diagonal(decay.view({chunks * heads_, dk_})));
        return scan_matrices(ctx_, transition.view({chunks, heads_, dk_, dk_}),
                             update.view({chunks, heads_, dk_, dv_}), by_head_.runs(), initial);
    }

    /// e^b_L of each channel, [chunks, H d_k].
    Tensor total_decay(int64_t chunks) {
        if (!has_decay_) return filled({chunks, heads_ * dk_}, 1);
        const Tensor total = exp(ctx_, last());
        if (by_channel_) return total.view({chunks, heads_ * dk_});
        return multiply_rows(ctx_, filled({chunks, heads_, dk_}, 1), total.view({chunks, heads_}))
            .view({chunks, heads_ * dk_});
    }
    /// Matrices [B, d, d] with x [B, d] on their diagonals.
    Tensor diagonal(const Tensor& x) {
        std::vector<int32_t> rows;
        for (int64_t i = 0; i < x.numel(); ++i) rows.push_back(static_cast<int32_t>(i * dk_ + i % dk_));
        const RowIndex places(*ctx_.allocator, rows, x.dim(0) * dk_ * dk_);
        return scatter_rows(ctx_, x.view({x.numel()}), places).view({x.dim(0), dk_, dk_});
    }
    Tensor filled(const Shape& shape, double value) {
        Tensor x = Tensor::empty(*ctx_.allocator, shape, wide_);
        x.fill(value);
        return x;
    }

    Context& ctx_;
    const LinearRecurrence& in_;
    const int64_t heads_, dk_, dv_;
    const DType wide_; // of states
    const PaddedChunks by_key_head_, by_head_;
    bool has_decay_ = false, by_channel_ = false;
    Tensor q_, k_, v_; // [chunks H, n, d]
    Tensor b_;         // [chunks H n, d_k] or [chunks H n, 1]
};

/// x [T, H, d] with each head `repeats` times in a row.
Tensor repeated_heads(Context& ctx, const Tensor& x, int64_t repeats) {
    const int64_t rows = x.dim(0) * x.dim(1);
    std::vector<int32_t> places;
    for (int64_t i = 0; i < rows * repeats; ++i) places.push_back(static_cast<int32_t>(i / repeats));
    return gather_rows(ctx, packed(ctx, x).view({rows, x.dim(2)}), RowIndex(*ctx.allocator, places, rows))
        .view({x.dim(0), x.dim(1) * repeats, x.dim(2)});
}

void expect_inputs(const LinearRecurrence& in, const DocumentsPtr& documents, const Tensor& initial) {
    const int64_t tokens = in.v.dim(0), heads = in.v.dim(1), dk = in.k.dim(2);
    check(in.v.rank() == 3 && in.k.rank() == 3 && in.k.dim(1) > 0 && heads % in.k.dim(1) == 0,
          "linear_recurrence: {} value heads read {} key heads", heads, in.k.dim(1));
    expect_shape(in.k, {tokens, in.k.dim(1), dk}, "linear_recurrence, k");
    expect_shape(in.q, in.k.shape(), "linear_recurrence, q");
    if (in.log_decay.defined() && in.log_decay.rank() == 3)
        expect_shape(in.log_decay, {tokens, heads, dk}, "linear_recurrence, log_decay");
    else if (in.log_decay.defined())
        expect_shape(in.log_decay, {tokens, heads}, "linear_recurrence, log_decay");
    if (in.beta.defined()) expect_shape(in.beta, {tokens, heads}, "linear_recurrence, beta");
    if (initial.defined())
        expect_shape(initial, {documents->num_documents(), heads, dk, in.v.dim(2)},
                     "linear_recurrence, initial");
}

} // namespace

RecurrenceResult composite_recurrence(Context& ctx, const LinearRecurrence& in, const DocumentsPtr& documents,
                                      const Tensor& initial) {
    expect_inputs(in, documents, initial);
    return ChunkedRecurrence(ctx, in, documents).run(initial);
}

RecurrenceResult linear_recurrence(Context& ctx, const LinearRecurrence& in, const DocumentsPtr& documents,
                                   const Tensor& initial) {
    expect_inputs(in, documents, initial);
    const DType wide = accumulation_dtype(in.v.dtype());
    const auto widened = [&](const Tensor& x) { return x.defined() ? cast(ctx, x, wide) : x; };
    DeltaInputs inputs{in.q, in.k, in.v, widened(in.log_decay), widened(in.beta), in.scale};
    if (const int64_t repeats = inputs.heads_per_key(); repeats > 1 && !keys_may_be_shared(inputs)) {
        inputs.q = repeated_heads(ctx, in.q, repeats);
        inputs.k = repeated_heads(ctx, in.k, repeats);
    }
    RecurrenceResult result;
    result.o = chunked_recurrence(ctx, inputs, documents, initial, &result.last);
    return result;
}

} // namespace braid::ops
