#include "ops/basic/bias.h"

#include "ops/basic/bias_kernels.h"

namespace braid::ops {

Tensor add_bias(Context& ctx, const Tensor& x, const Parameter* b) {
    check(x.rank() == 2 && b->shape() == Shape({x.dim(1)}), "add_bias of {} and {}", to_string(x.shape()),
          to_string(b->shape()));
    expect_dtype(b->value(), accumulation_dtype(x.dtype()), "add_bias, b");
    ProfileScope scope(ctx.profiler, "add_bias");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    device::add_bias(x, b->value(), y);
    if (ctx.tape)
        ctx.tape->record({"add_bias",
                          {y.ref()},
                          {},
                          [x = x.ref()](const Backward& run) { run.add(x, run.dy[0]); },
                          [b](const Backward& run) { device::bias_gradient(run.dy[0], b->gradient()); }});
    return y;
}

} // namespace braid::ops
