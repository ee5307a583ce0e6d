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

void record(Context& ctx, const DeltaInputs& in, std::shared_ptr<const ChunkPlan> plan, const Tensor& o,
            const DeltaSaved& saved) {
    ctx.tape->record(
        {"gated_delta_rule",
         {o.ref()},
         {in.q, in.k, in.v, in.g, in.beta, saved.inverse, saved.corrected},
         [plan = std::move(plan), scale = in.scale](const Backward& run) {
             const auto& x = run.saved;
             const DeltaInputs in{x[0], x[1], x[2], x[3], x[4], scale};
             const auto like = [&](const Tensor& x) {
                 return x.defined() ? Tensor::empty(*run.ctx.allocator, x.shape(), x.dtype()) : Tensor();
             };
             const DeltaGradients d{like(in.q), like(in.k), like(in.v), like(in.g), like(in.beta)};
             device::delta_rule_backward(in, *plan, DeltaSaved{x[5], x[6]}, run.dy[0], d, *run.ctx.allocator);
             run.count_flops(cpu::delta_rule_backward_flops(in, *plan));
             run.add(in.q.ref(), d.q);
             run.add(in.k.ref(), d.k);
             run.add(in.v.ref(), d.v);
             if (d.g.defined()) run.add(in.g.ref(), d.g);
             run.add(in.beta.ref(), d.beta);
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
                        Tensor* final_states) {
    const DeltaInputs in{q, k, v, g, beta, scale};
    expect_inputs(in);
    check(documents->num_tokens() == in.num_tokens(), "gated_delta_rule: documents of {} tokens for {} rows",
          documents->num_tokens(), in.num_tokens());
    ProfileScope scope(ctx.profiler, "gated_delta_rule");
    Allocator& allocator = *ctx.allocator;
    auto plan = std::make_shared<ChunkPlan>(*documents);
    plan->upload(allocator);
    const int64_t heads = in.num_value_heads();
    Tensor o = Tensor::empty(allocator, v.shape(), v.dtype());
    const DeltaSaved saved{
        Tensor::empty(allocator, {heads * plan->num_square_elements}, state_dtype(in)),
        Tensor::empty(allocator, {heads, in.num_tokens(), in.value_dim()}, state_dtype(in))};
    if (final_states)
        *final_states = Tensor::empty(allocator, {plan->num_documents(), heads, in.key_dim(), in.value_dim()},
                                      state_dtype(in));
    device::delta_rule_forward(in, *plan, o, saved, final_states ? *final_states : Tensor(), allocator);
    scope.count_flops(cpu::delta_rule_forward_flops(in, *plan, final_states != nullptr));
    if (ctx.tape) record(ctx, in, std::move(plan), o, saved);
    return o;
}

Tensor gated_delta_rule_step(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g,
                             const Tensor& beta, Tensor& state, double scale) {
    const DeltaInputs in{q, k, v, g, beta, scale};
    expect_inputs(in);
    ProfileScope scope(ctx.profiler, "gated_delta_rule_step");
    const Shape shape{in.num_value_heads(), in.key_dim(), in.value_dim()};
    if (!state.defined()) state = Tensor::zeros(*ctx.allocator, shape, state_dtype(in));
    expect_shape(state, shape, "gated_delta_rule_step, state");
    Tensor o = Tensor::empty(*ctx.allocator, v.shape(), v.dtype());
    device::delta_rule_step(in, o, state);
    return o;
}

DeltaDiagnostics delta_diagnostics(const Tensor& device_g, const Tensor& device_states) {
    Allocator host;
    const Tensor g = on_host(host, device_g), final_states = on_host(host, device_states);
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
    if (final_states.defined() && final_states.numel() > 0)
        dispatch_float(final_states.dtype(), [&]<typename T>() {
            double sum = 0;
            for (const T x : final_states.span<T>()) sum += static_cast<double>(x) * static_cast<double>(x);
            result.state_rms = std::sqrt(sum / static_cast<double>(final_states.numel()));
        });
    return result;
}

} // namespace braid::ops
