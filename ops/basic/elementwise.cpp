#include "ops/basic/elementwise.h"

#include "ops/basic/elementwise_kernels.h"

namespace braid::ops {

Tensor add(Context& ctx, const Tensor& a, const Tensor& b) {
    expect_shape(b, a.shape(), "add");
    check(a.dtype() == b.dtype(), "add: {} and {}", name_of(a.dtype()), name_of(b.dtype()));
    ProfileScope scope(ctx.profiler, "add");
    Tensor y = Tensor::empty(*ctx.allocator, a.shape(), a.dtype());
    device::add(a, b, y);
    if (ctx.tape)
        ctx.tape->record({"add", {y.ref()}, {}, [a = a.ref(), b = b.ref()](const Backward& run) {
                              run.add(a, run.dy[0]);
                              run.add(b, run.dy[0]);
                          }});
    return y;
}

Tensor scale(Context& ctx, const Tensor& x, double factor) {
    if (factor == 1) return x;
    ProfileScope scope(ctx.profiler, "scale");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    device::scale(x, factor, y);
    if (ctx.tape)
        ctx.tape->record({"scale", {y.ref()}, {}, [x = x.ref(), factor](const Backward& run) {
                              Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              device::scale(run.dy[0], factor, dx);
                              run.add(x, dx);
                          }});
    return y;
}

Tensor cast(Context& ctx, const Tensor& x, DType dtype) {
    if (x.dtype() == dtype) return x;
    ProfileScope scope(ctx.profiler, "cast");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), dtype);
    device::cast(x, y);
    if (ctx.tape)
        ctx.tape->record({"cast", {y.ref()}, {}, [x = x.ref()](const Backward& run) {
                              Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              device::cast(run.dy[0], dx);
                              run.add(x, dx);
                          }});
    return y;
}

} // namespace braid::ops
