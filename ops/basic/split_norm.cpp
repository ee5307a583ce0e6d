#include "ops/basic/split_norm.h"

#include "ops/basic/split_norm_kernels.h"

namespace braid::ops {

Tensor row_squares(Context& ctx, const Tensor& x) {
    check(x.rank() == 2, "row_squares: {} is not [tokens, features]", to_string(x.shape()));
    const ProfileScope scope(ctx.profiler, "row_squares");
    Tensor squares = Tensor::empty(*ctx.allocator, {x.dim(0)}, accumulation_dtype(x.dtype()));
    device::row_squares(x, squares);
    if (ctx.tape)
        ctx.tape->record({"row_squares", {squares.ref()}, {x}, [x = x.ref()](const Backward& run) {
                              Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              device::row_squares_gradient(run.saved[0], run.dy[0], dx);
                              run.add(x, dx);
                          }});
    return squares;
}

Tensor rms_norm_given_squares(Context& ctx, const Tensor& x, const Tensor& squares, int64_t width,
                              const Parameter* w, double eps, bool zero_centered) {
    expect_shape(squares, {x.dim(0)}, "rms_norm_given_squares, squares");
    expect_shape(w->value(), {x.dim(-1)}, "rms_norm_given_squares, weight");
    const ProfileScope scope(ctx.profiler, "rms_norm");
    const SplitNorm norm{width, eps, zero_centered};
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    device::rms_norm_given_squares(x, squares, w->value(), norm, y);
    if (!ctx.tape) return y;
    ctx.tape->record({"rms_norm",
                      {y.ref()},
                      {x, squares},
                      [w, norm, x = x.ref(), squares = squares.ref()](const Backward& run) {
                          Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                          Tensor dsquares = Tensor::empty(*run.ctx.allocator, squares.shape, squares.dtype);
                          device::rms_norm_given_squares_data_gradient(run.dy[0], run.saved[0], run.saved[1],
                                                                       w->value(), norm, dx, dsquares);
                          run.add(x, dx);
                          run.add(squares, dsquares);
                      },
                      [w, norm](const Backward& run) {
                          device::rms_norm_given_squares_weight_gradient(run.dy[0], run.saved[0],
                                                                         run.saved[1], norm, w->gradient());
                      }});
    return y;
}

} // namespace braid::ops
