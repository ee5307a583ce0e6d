#include "ops/recurrence/delta_decay.h"

#include "ops/recurrence/delta_decay_kernels.h"

namespace braid::ops {

Tensor delta_decay(Context& ctx, const Tensor& a, const Parameter* a_log, const Parameter* dt_bias) {
    check(a.rank() == 2, "delta_decay: an input of shape {} is not [T, H]", to_string(a.shape()));
    expect_shape(a_log->value(), {a.dim(1)}, "delta_decay, a_log");
    expect_shape(dt_bias->value(), {a.dim(1)}, "delta_decay, dt_bias");
    ProfileScope scope(ctx.profiler, "delta_decay");
    Tensor g = Tensor::empty(*ctx.allocator, a.shape(), accumulation_dtype(a.dtype()));
    device::delta_decay(a, a_log->value(), dt_bias->value(), g);
    if (!ctx.tape) return g;
    ctx.tape->record(
        {"delta_decay",
         {g.ref()},
         {a, g},
         [a_log, dt_bias](const Backward& run) {
             const Tensor& a = run.saved[0];
             Tensor da = Tensor::empty(*run.ctx.allocator, a.shape(), a.dtype());
             device::delta_decay_data_gradient(a, a_log->value(), dt_bias->value(), run.dy[0], da);
             run.add(a.ref(), da);
         },
         [a_log, dt_bias](const Backward& run) {
             device::delta_decay_weight_gradient(run.saved[0], a_log->value(), dt_bias->value(), run.saved[1],
                                                 run.dy[0], a_log->gradient(), dt_bias->gradient());
         }});
    return g;
}

} // namespace braid::ops
