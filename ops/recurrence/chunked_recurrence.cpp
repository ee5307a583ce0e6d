#include "ops/recurrence/chunked_recurrence.h"

#include "ops/recurrence/channel_rule_kernels.h"

namespace braid::ops {
namespace {

DType state_dtype(const DeltaInputs& in) {
    return accumulation_dtype(in.v.dtype());
}

bool is_by_channel(const DeltaInputs& in) {
    return in.g.defined() && in.g.rank() == 3;
}

/// Which of the two kernels; that of a GPU for decays per head knows the delta rule only.
bool uses_channel_kernel(const DeltaInputs& in) {
    return is_by_channel(in) || (in.v.device().kind == DeviceKind::cuda && !in.beta.defined());
}

void expect_inputs(const DeltaInputs& in) {
    check(in.q.rank() == 3 && in.k.rank() == 3 && in.v.rank() == 3,
          "gated_delta_rule: q, k, v must have three dimensions, not {}, {}, {}", to_string(in.q.shape()),
          to_string(in.k.shape()), to_string(in.v.shape()));
    const int64_t tokens = in.num_tokens(), heads = in.num_value_heads();
    expect_shape(in.k, {tokens, in.num_key_heads(), in.key_dim()}, "gated_delta_rule, k");
    expect_shape(in.q, in.k.shape(), "gated_delta_rule, q");
    check(in.num_key_heads() > 0 && heads % in.num_key_heads() == 0,
          "gated_delta_rule: {} value heads do not divide over {} key heads", heads, in.num_key_heads());
    if (is_by_channel(in))
        expect_shape(in.g, {tokens, heads, in.key_dim()}, "gated_delta_rule, g");
    else if (in.g.defined())
        expect_shape(in.g, {tokens, heads}, "gated_delta_rule, g");
    if (in.beta.defined()) expect_shape(in.beta, {tokens, heads}, "gated_delta_rule, beta");
    const auto is_wide = [&](const Tensor& x) { return !x.defined() || x.dtype() == state_dtype(in); };
    check(in.q.dtype() == in.v.dtype() && in.k.dtype() == in.v.dtype() && is_wide(in.g) && is_wide(in.beta),
          "gated_delta_rule: q, k, v are {}, {}, {}, and g and beta are not {}", name_of(in.q.dtype()),
          name_of(in.k.dtype()), name_of(in.v.dtype()), name_of(state_dtype(in)));
    check(!uses_channel_kernel(in) || in.num_key_heads() == heads,
          "gated_delta_rule: {} value heads of {} key heads", heads, in.num_key_heads());
}

/// Its name in profiles.
const char* profile_name(const DeltaInputs& in) {
    return in.beta.defined() && !is_by_channel(in) ? "gated_delta_rule" : "linear_recurrence";
}

Shape states_shape(const DeltaInputs& in, int64_t count) {
    return {count, in.num_value_heads(), in.key_dim(), in.value_dim()};
}

/// A copy of x, or zeros.
Tensor copy_or_zeros(Allocator& allocator, const Tensor& x, const Shape& shape, DType dtype) {
    if (!x.defined()) return Tensor::zeros(allocator, shape, dtype);
    const Tensor y = Tensor::empty(allocator, shape, dtype);
    copy(x, y);
    return y;
}

/// The states of forward, with those that documents start from. A document without a token ends with the
/// same.
Tensor states_from(Allocator& allocator, const DeltaInputs& in, const ChunkPlan& plan,
                   const Tensor& initial) {
    const Tensor states = Tensor::empty(allocator, states_shape(in, plan.num_states), state_dtype(in));
    if (initial.defined()) copy(initial, plan.initial_of(states));
    if (!plan.borders.last) return states;
    if (initial.defined())
        copy(initial, plan.last_of(states));
    else
        plan.last_of(states).fill_zero();
    return states;
}

ChannelSaved make_saved(Allocator& allocator, const DeltaInputs& in, const ChunkPlan& plan) {
    const int64_t heads = in.num_value_heads();
    const auto squares = [&] {
        return Tensor::empty(allocator, {heads * plan.num_square_elements}, state_dtype(in));
    };
    ChannelSaved saved;
    if (in.beta.defined())
        saved.delta = {squares(),
                       Tensor::empty(allocator, {heads, in.num_tokens(), in.value_dim()}, state_dtype(in))};
    if (uses_channel_kernel(in)) saved.pairs = squares();
    return saved;
}

void run_backward(const DeltaInputs& in, const ChunkPlan& plan, const ChannelSaved& saved,
                  const Tensor& d_output, const DeltaBorders& borders, const DeltaGradients& d,
                  Allocator& allocator) {
    if (uses_channel_kernel(in))
        device::channel_rule_backward(in, plan, saved, d_output, borders, d, allocator);
    else
        device::delta_rule_backward(in, plan, saved.delta, d_output, borders, d, allocator);
}

void record(Context& ctx, const DeltaInputs& in, const DocumentsPtr& documents, const Tensor& initial,
            const Tensor& o, const Tensor* last, const ChannelSaved& saved) {
    std::vector<ValueRef> outputs = {o.ref()};
    if (last) outputs.push_back(last->ref());
    ctx.tape->record(
        {profile_name(in),
         outputs,
         {in.q, in.k, in.v, in.g, in.beta, saved.delta.inverse, saved.delta.corrected, saved.pairs, initial},
         [documents, scale = in.scale](const Backward& run) {
             const auto& x = run.saved;
             Allocator& allocator = *run.ctx.allocator;
             const DeltaInputs in{x[0], x[1], x[2], x[3], x[4], scale};
             const Tensor &initial = x[8], d_last = run.dy.size() > 1 ? run.dy[1] : Tensor();
             ChunkPlan plan(*documents, {.initial = initial.defined(), .last = d_last.defined()});
             plan.upload(allocator);
             DeltaBorders borders{initial, {}, d_last};
             if (initial.defined()) // of a document without a token the two states are one
                 borders.d_initial = copy_or_zeros(allocator, d_last, initial.shape(), initial.dtype());
             const auto like = [&](const Tensor& x) {
                 return x.defined() ? Tensor::empty(allocator, x.shape(), x.dtype()) : Tensor();
             };
             const DeltaGradients d{like(in.q), like(in.k), like(in.v), like(in.g), like(in.beta)};
             const Tensor d_output =
                 run.dy[0].defined() ? run.dy[0] : Tensor::zeros(allocator, in.v.shape(), in.v.dtype());
             run_backward(in, plan, {{x[5], x[6]}, x[7]}, d_output, borders, d, allocator);
             run.count_flops(cpu::delta_rule_backward_flops(in, plan));
             run.add(in.q.ref(), d.q);
             run.add(in.k.ref(), d.k);
             run.add(in.v.ref(), d.v);
             if (d.g.defined()) run.add(in.g.ref(), d.g);
             if (d.beta.defined()) run.add(in.beta.ref(), d.beta);
             if (initial.defined()) run.add(initial.ref(), borders.d_initial);
         }});
}

} // namespace

bool keys_may_be_shared(const DeltaInputs& in) {
    return !uses_channel_kernel(in);
}

Tensor chunked_recurrence(Context& ctx, const DeltaInputs& in, const DocumentsPtr& documents,
                          const Tensor& initial, Tensor* last) {
    expect_inputs(in);
    check(documents->num_tokens() == in.num_tokens(), "gated_delta_rule: documents of {} tokens for {} rows",
          documents->num_tokens(), in.num_tokens());
    if (initial.defined()) {
        expect_shape(initial, states_shape(in, documents->num_documents()), "gated_delta_rule, initial");
        check(initial.dtype() == state_dtype(in), "gated_delta_rule: an initial state in {}",
              name_of(initial.dtype()));
    }
    ProfileScope scope(ctx.profiler, profile_name(in));
    Allocator& allocator = *ctx.allocator;
    ChunkPlan plan(*documents, {.initial = initial.defined(), .last = last != nullptr});
    plan.upload(allocator);
    Tensor o = Tensor::empty(allocator, in.v.shape(), in.v.dtype());
    const ChannelSaved saved = make_saved(allocator, in, plan);
    const Tensor states = states_from(allocator, in, plan, initial);
    if (uses_channel_kernel(in))
        device::channel_rule_forward(in, plan, o, saved, states, allocator);
    else
        device::delta_rule_forward(in, plan, o, saved.delta, states, allocator);
    scope.count_flops(cpu::delta_rule_forward_flops(in, plan));
    // a copy, as the part of `states` would keep all of them
    if (last)
        *last = copy_or_zeros(allocator, plan.last_of(states), states_shape(in, plan.num_documents()),
                              state_dtype(in));
    if (ctx.tape) record(ctx, in, documents, initial, o, last, saved);
    return o;
}

} // namespace braid::ops
