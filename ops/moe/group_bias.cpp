#include "ops/moe/group_bias.h"

#include "ops/moe/group_bias_kernels.h"

namespace braid::ops {

Tensor add_group_bias(Context& ctx, const Tensor& x, const Parameter* b, const Tensor& offsets,
                      int64_t first) {
    check(x.rank() == 2 && b->shape().rank() == 2 && first >= 0 && first + b->shape()[1] <= x.dim(1),
          "add_group_bias of {} and {} from column {} on", to_string(x.shape()), to_string(b->shape()),
          first);
    expect_shape(offsets, {b->shape()[0] + 1}, "add_group_bias, offsets");
    expect_dtype(b->value(), accumulation_dtype(x.dtype()), "add_group_bias, b");
    ProfileScope scope(ctx.profiler, "add_group_bias");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    device::add_group_bias(x, b->value(), offsets, first, y);
    if (ctx.tape)
        ctx.tape->record({"add_group_bias",
                          {y.ref()},
                          {offsets},
                          [x = x.ref()](const Backward& run) { run.add(x, run.dy[0]); },
                          [b, first](const Backward& run) {
                              device::group_bias_gradient(run.dy[0], run.saved[0], first, b->gradient());
                          }});
    return y;
}

} // namespace braid::ops
