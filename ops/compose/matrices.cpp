#include "ops/compose/matrices.h"

#include "ops/compose/matrices_kernels.h"

namespace braid::ops {
namespace {

void expect_matrices(const Tensor& a, const Tensor& b, bool fit, const char* what) {
    check(a.rank() == 3 && b.rank() == 3 && a.dim(0) == b.dim(0) && fit, "{} of {} and {}", what,
          to_string(a.shape()), to_string(b.shape()));
    check(a.dtype() == b.dtype(), "{}: {} and {}", what, name_of(a.dtype()), name_of(b.dtype()));
}

/// y = op(a) op(b) without a record.
Tensor product(Context& ctx, const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
    Tensor y = Tensor::empty(*ctx.allocator,
                             {a.dim(0), a.dim(transpose_a ? 2 : 1), b.dim(transpose_b ? 1 : 2)}, a.dtype());
    device::batched_matmul(a, b, transpose_a, transpose_b, y);
    return y;
}

double product_flops(const Tensor& y, int64_t depth) {
    return 2 * static_cast<double>(y.numel()) * static_cast<double>(depth);
}

} // namespace

Tensor batched_matmul(Context& ctx, const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
    expect_matrices(
        a, b, a.rank() == 3 && b.rank() == 3 && a.dim(transpose_a ? 1 : 2) == b.dim(transpose_b ? 2 : 1),
        "batched_matmul");
    const int64_t depth = a.dim(transpose_a ? 1 : 2);
    ProfileScope scope(ctx.profiler, "batched_matmul");
    Tensor y = product(ctx, a, b, transpose_a, transpose_b);
    scope.count_flops(product_flops(y, depth));
    if (ctx.tape)
        ctx.tape->record({"batched_matmul",
                          {y.ref()},
                          {a, b},
                          [a = a.ref(), b = b.ref(), transpose_a, transpose_b, depth](const Backward& run) {
                              const Tensor &x = run.saved[0], &z = run.saved[1], &dy = run.dy[0];
                              run.add(a, transpose_a ? product(run.ctx, z, dy, transpose_b, true)
                                                     : product(run.ctx, dy, z, false, !transpose_b));
                              run.add(b, transpose_b ? product(run.ctx, dy, x, true, transpose_a)
                                                     : product(run.ctx, x, dy, !transpose_a, false));
                              run.count_flops(2 * product_flops(dy, depth));
                          }});
    return y;
}

Tensor lower_triangle(Context& ctx, const Tensor& x, bool strict) {
    check(x.rank() == 3 && x.dim(1) == x.dim(2), "lower_triangle of {}", to_string(x.shape()));
    ProfileScope scope(ctx.profiler, "lower_triangle");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    device::lower_triangle(x, strict, y);
    if (ctx.tape)
        ctx.tape->record({"lower_triangle", {y.ref()}, {}, [x = x.ref(), strict](const Backward& run) {
                              Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              device::lower_triangle(run.dy[0], strict, dx);
                              run.add(x, dx);
                          }});
    return y;
}

Tensor lower_triangular_matmul(Context& ctx, const Tensor& a, const Tensor& b) {
    return batched_matmul(ctx, lower_triangle(ctx, a), b);
}

Tensor solve_unit_lower(Context& ctx, const Tensor& a, const Tensor& b) {
    expect_matrices(a, b, a.rank() == 3 && b.rank() == 3 && a.dim(1) == a.dim(2) && a.dim(2) == b.dim(1),
                    "solve_unit_lower");
    ProfileScope scope(ctx.profiler, "solve_unit_lower");
    Tensor y = Tensor::empty(*ctx.allocator, b.shape(), b.dtype());
    device::solve_unit_lower(a, b, false, y);
    if (ctx.tape)
        ctx.tape->record(
            {"solve_unit_lower", {y.ref()}, {a, y}, [a = a.ref(), b = b.ref()](const Backward& run) {
                 Tensor db = Tensor::empty(*run.ctx.allocator, b.shape, b.dtype);
                 device::solve_unit_lower(run.saved[0], run.dy[0], true, db);
                 Tensor da = Tensor::empty(*run.ctx.allocator, a.shape, a.dtype);
                 device::solve_unit_lower_gradient(db, run.saved[1], da);
                 run.add(a, da);
                 run.add(b, db);
             }});
    return y;
}

} // namespace braid::ops
