#include "ops/recurrence/delta_rule.h"

#include <algorithm>
#include <cmath>

#include "ops/basic/elementwise_kernels.h"
#include "ops/recurrence/delta_rule_kernels.h"

namespace braid::ops {
namespace {

DType state_dtype(const DeltaInputs& in) {
    return accumulation_dtype(in.v.dtype());
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
    if (in.g.defined()) expect_shape(in.g, {tokens, heads}, "gated_delta_rule, g");
    expect_shape(in.beta, {tokens, heads}, "gated_delta_rule, beta");
    check(in.q.dtype() == in.v.dtype() && in.k.dtype() == in.v.dtype() &&
              in.beta.dtype() == state_dtype(in) && (!in.g.defined() || in.g.dtype() == state_dtype(in)),
          "gated_delta_rule: q, k, v are {}, {}, {}, and beta is {}", name_of(in.q.dtype()),
          name_of(in.k.dtype()), name_of(in.v.dtype()), name_of(in.beta.dtype()));
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

void record(Context& ctx, const DeltaInputs& in, const DocumentsPtr& documents, const Tensor& initial,
            const Tensor& o, const Tensor* last, const DeltaSaved& saved) {
    std::vector<ValueRef> outputs = {o.ref()};
    if (last) outputs.push_back(last->ref());
    ctx.tape->record(
        {"gated_delta_rule",
         outputs,
         {in.q, in.k, in.v, in.g, in.beta, saved.inverse, saved.corrected, initial},
         [documents, scale = in.scale](const Backward& run) {
             const auto& x = run.saved;
             Allocator& allocator = *run.ctx.allocator;
             const DeltaInputs in{x[0], x[1], x[2], x[3], x[4], scale};
             const Tensor &initial = x[7], d_last = run.dy.size() > 1 ? run.dy[1] : Tensor();
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
             device::delta_rule_backward(in, plan, DeltaSaved{x[5], x[6]}, d_output, borders, d, allocator);
             run.count_flops(cpu::delta_rule_backward_flops(in, plan));
             run.add(in.q.ref(), d.q);
             run.add(in.k.ref(), d.k);
             run.add(in.v.ref(), d.v);
             if (d.g.defined()) run.add(in.g.ref(), d.g);
             run.add(in.beta.ref(), d.beta);
             if (initial.defined()) run.add(initial.ref(), borders.d_initial);
         }});
}

/// x, or a copy of it that the host can read.
Tensor on_host(Allocator& host, const Tensor& x) {
    if (!x.defined() || x.device().kind == DeviceKind::cpu) return x;
    Tensor packed = x;
    if (!x.is_contiguous()) {
        packed = Tensor::empty(x.allocator(), x.shape(), x.dtype());
        device::scale(x, 1, packed);
    }
    return to_device(host, packed);
}

} // namespace

Tensor gated_delta_rule(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g,
                        const Tensor& beta, const DocumentsPtr& documents, double scale,
                        const Tensor& initial, Tensor* last) {
    const DeltaInputs in{q, k, v, g, beta, scale};
    expect_inputs(in);
    check(documents->num_tokens() == in.num_tokens(), "gated_delta_rule: documents of {} tokens for {} rows",
          documents->num_tokens(), in.num_tokens());
    if (initial.defined()) {
        expect_shape(initial, states_shape(in, documents->num_documents()), "gated_delta_rule, initial");
        check(initial.dtype() == state_dtype(in), "gated_delta_rule: an initial state in {}",
              name_of(initial.dtype()));
    }
    ProfileScope scope(ctx.profiler, "gated_delta_rule");
    Allocator& allocator = *ctx.allocator;
    ChunkPlan plan(*documents, {.initial = initial.defined(), .last = last != nullptr});
    plan.upload(allocator);
    const int64_t heads = in.num_value_heads();
    Tensor o = Tensor::empty(allocator, v.shape(), v.dtype());
    const DeltaSaved saved{
        Tensor::empty(allocator, {heads * plan.num_square_elements}, state_dtype(in)),
        Tensor::empty(allocator, {heads, in.num_tokens(), in.value_dim()}, state_dtype(in))};
    const Tensor states = states_from(allocator, in, plan, initial);
    device::delta_rule_forward(in, plan, o, saved, states, allocator);
    scope.count_flops(cpu::delta_rule_forward_flops(in, plan));
    // a copy, as the part of `states` would keep all of them
    if (last)
        *last = copy_or_zeros(allocator, plan.last_of(states), states_shape(in, plan.num_documents()),
                              state_dtype(in));
    if (ctx.tape) record(ctx, in, documents, initial, o, last, saved);
    return o;
}

DeltaDiagnostics delta_diagnostics(const Tensor& device_g, const Tensor& device_states) {
    Allocator host;
    const Tensor g = on_host(host, device_g), last_states = on_host(host, device_states);
    DeltaDiagnostics result;
    if (g.defined() && g.numel() > 0)
        dispatch_float(g.dtype(), [&]<typename T>() {
            double sum = 0;
            for (int64_t t = 0; t < g.dim(0); ++t)
                for (int64_t h = 0; h < g.dim(1); ++h) {
                    const double decay = std::exp(static_cast<double>(g.data<T>()[t * g.row_stride() + h]));
                    sum += decay;
                    result.decay_min = std::min(result.decay_min, decay);
                }
            result.decay_mean = sum / static_cast<double>(g.numel());
        });
    if (last_states.defined() && last_states.numel() > 0)
        dispatch_float(last_states.dtype(), [&]<typename T>() {
            double sum = 0;
            for (const T x : last_states.span<T>()) sum += static_cast<double>(x) * static_cast<double>(x);
            result.state_rms = std::sqrt(sum / static_cast<double>(last_states.numel()));
        });
    return result;
}

} // namespace braid::ops
