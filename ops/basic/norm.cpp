#include "ops/basic/norm.h"

#include "ops/basic/norm_kernels.h"

namespace braid::ops {
namespace {

Tensor value_of(const Parameter* w) {
    return w ? w->value() : Tensor();
}

Tensor gradient_of(const Parameter* w) {
    return w ? w->gradient() : Tensor();
}

void expect_vector(const Parameter* w, const Tensor& x, const char* what) {
    if (w)
        check(w->shape() == Shape({x.dim(-1)}), "{}: a weight of shape {} does not fit an input of shape {}",
              what, to_string(w->shape()), to_string(x.shape()));
}

/// One number per row of the last dimension.
Tensor empty_per_row(Context& ctx, const Tensor& x) {
    int64_t rows = 1;
    for (int i = 0; i < x.rank() - 1; ++i) rows *= x.dim(i);
    return Tensor::empty(*ctx.allocator, {rows}, accumulation_dtype(x.dtype()));
}

} // namespace

Tensor rms_norm(Context& ctx, const Tensor& x, const Parameter* w, double eps, bool zero_centered) {
    expect_vector(w, x, "rms_norm");
    ProfileScope scope(ctx.profiler, "rms_norm");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype()), scale = empty_per_row(ctx, x);
    device::rms_norm(x, value_of(w), eps, zero_centered, y, scale);
    if (!ctx.tape) return y;
    OpRecord record{"rms_norm", {y.ref()}, {x, scale}, [w, zero_centered, x = x.ref()](const Backward& run) {
                        Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                        device::rms_norm_data_gradient(run.dy[0], run.saved[0], run.saved[1], value_of(w),
                                                       zero_centered, dx);
                        run.add(x, dx);
                    }};
    if (w)
        record.weight_gradient = [w](const Backward& run) {
            device::rms_norm_weight_gradient(run.dy[0], run.saved[0], run.saved[1], w->gradient());
        };
    ctx.tape->record(std::move(record));
    return y;
}

Tensor layer_norm(Context& ctx, const Tensor& x, const Parameter* w, const Parameter* b, double eps) {
    expect_vector(w, x, "layer_norm");
    expect_vector(b, x, "layer_norm");
    ProfileScope scope(ctx.profiler, "layer_norm");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    Tensor mean = empty_per_row(ctx, x), scale = empty_per_row(ctx, x);
    device::layer_norm(x, value_of(w), value_of(b), eps, y, mean, scale);
    if (!ctx.tape) return y;
    OpRecord record{"layer_norm", {y.ref()}, {x, mean, scale}, [w, x = x.ref()](const Backward& run) {
                        Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                        device::layer_norm_data_gradient(run.dy[0], run.saved[0], run.saved[1], run.saved[2],
                                                         value_of(w), dx);
                        run.add(x, dx);
                    }};
    if (w || b)
        record.weight_gradient = [w, b](const Backward& run) {
            device::layer_norm_weight_gradient(run.dy[0], run.saved[0], run.saved[1], run.saved[2],
                                               gradient_of(w), gradient_of(b));
        };
    ctx.tape->record(std::move(record));
    return y;
}

Tensor gated_rms_norm(Context& ctx, const Tensor& x, const Tensor& gate, const Parameter* w, double eps,
                      GateKind kind) {
    expect_vector(w, x, "gated_rms_norm");
    expect_shape(gate, x.shape(), "gated_rms_norm, gate");
    ProfileScope scope(ctx.profiler, "gated_rms_norm");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype()), scale = empty_per_row(ctx, x);
    device::gated_rms_norm(x, gate, w->value(), eps, kind, y, scale);
    if (!ctx.tape) return y;
    ctx.tape->record({"gated_rms_norm",
                      {y.ref()},
                      {x, gate, scale},
                      [w, kind, x = x.ref(), gate = gate.ref()](const Backward& run) {
                          Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                          Tensor dgate = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                          device::gated_rms_norm_data_gradient(run.dy[0], run.saved[0], run.saved[1],
                                                               run.saved[2], w->value(), kind, dx, dgate);
                          run.add(x, dx);
                          run.add(gate, dgate);
                      },
                      [w, kind](const Backward& run) {
                          device::gated_rms_norm_weight_gradient(run.dy[0], run.saved[0], run.saved[1],
                                                                 run.saved[2], kind, w->gradient());
                      }});
    return y;
}

} // namespace braid::ops
