#include "ops/basic/linear.h"

#include "ops/basic/linear_kernels.h"

namespace braid::ops {

Tensor linear(Context& ctx, const Tensor& x, const Parameter* w) {
    check(w->shape().rank() == 2, "linear: a weight of shape {} is no matrix", to_string(w->shape()));
    const int64_t tokens = x.dim(0), out = w->shape()[0], in = w->shape()[1];
    expect_shape(x, {tokens, in}, "linear, input");
    expect_dtype(x, w->compute_value().dtype(), "linear, input");
    ProfileScope scope(ctx.profiler, "linear");
    const double flops =
        2.0 * static_cast<double>(tokens) * static_cast<double>(out) * static_cast<double>(in);
    scope.count_flops(flops);
    Tensor y = Tensor::empty(*ctx.allocator, {tokens, out}, x.dtype());
    device::linear(x, *w, y);
    if (!ctx.tape) return y;
    ctx.tape->record({"linear",
                      {y.ref()},
                      {x},
                      [x = x.ref(), w, flops](const Backward& run) {
                          Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                          device::linear_data_gradient(run.dy[0], *w, dx);
                          run.count_flops(flops);
                          run.add(x, dx);
                      },
                      [w, flops](const Backward& run) {
                          device::linear_weight_gradient(run.dy[0], run.saved[0], w->gradient());
                          run.count_flops(flops);
                      }});
    return y;
}

} // namespace braid::ops
