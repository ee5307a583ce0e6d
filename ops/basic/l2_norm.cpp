#include "ops/basic/l2_norm.h"

#include "ops/basic/l2_norm_kernels.h"

namespace braid::ops {

Tensor l2_norm(Context& ctx, const Tensor& x, double eps) {
    check(x.rank() == 3, "l2_norm: an input of shape {} is not [T, H, d]", to_string(x.shape()));
    ProfileScope scope(ctx.profiler, "l2_norm");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    const Tensor inverse_norm =
        Tensor::empty(*ctx.allocator, {x.dim(0), x.dim(1)}, accumulation_dtype(x.dtype()));
    device::l2_norm(x, eps, y, inverse_norm);
    if (ctx.tape)
        ctx.tape->record({"l2_norm", {y.ref()}, {y, inverse_norm}, [x = x.ref()](const Backward& run) {
                              Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              device::l2_norm_gradient(run.saved[0], run.saved[1], run.dy[0], dx);
                              run.add(x, dx);
                          }});
    return y;
}

} // namespace braid::ops
