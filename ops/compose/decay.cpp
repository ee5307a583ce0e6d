#include "ops/compose/decay.h"

#include "ops/compose/decay_kernels.h"

namespace braid::ops {
namespace {

void expect_sums(const Tensor& b, const char* what) {
    check(is_floating(b.dtype()) && b.dtype() != DType::bf16, "{} of {}: decays need f32 or f64", what,
          name_of(b.dtype()));
}

} // namespace

Tensor decayed_products(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& b) {
    expect_sums(b, "decayed_products");
    check(b.rank() == 3, "decayed_products of {}", to_string(b.shape()));
    for (const Tensor& x : {q, k}) {
        expect_shape(x, b.shape(), "decayed_products");
        expect_dtype(x, b.dtype(), "decayed_products");
    }
    ProfileScope scope(ctx.profiler, "decayed_products");
    Tensor y = Tensor::empty(*ctx.allocator, {b.dim(0), b.dim(1), b.dim(1)}, b.dtype());
    device::decayed_products(b, q, k, y);
    if (ctx.tape)
        ctx.tape->record({"decayed_products",
                          {y.ref()},
                          {b, q, k},
                          [q = q.ref(), k = k.ref(), b = b.ref()](const Backward& run) {
                              const auto like = [&](const ValueRef& x) {
                                  return Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              };
                              Tensor dq = like(q), dk = like(k), db = like(b);
                              device::decayed_products_backward(run.saved[0], run.saved[1], run.saved[2],
                                                                run.dy[0], dq, dk, db);
                              run.add(q, dq);
                              run.add(k, dk);
                              run.add(b, db);
                          }});
    return y;
}

Tensor decay_matrix(Context& ctx, const Tensor& b) {
    expect_sums(b, "decay_matrix");
    check(b.rank() == 2, "decay_matrix of {}", to_string(b.shape()));
    ProfileScope scope(ctx.profiler, "decay_matrix");
    Tensor y = Tensor::empty(*ctx.allocator, {b.dim(0), b.dim(1), b.dim(1)}, b.dtype());
    device::decayed_products(b, Tensor(), Tensor(), y);
    if (ctx.tape)
        ctx.tape->record({"decay_matrix", {y.ref()}, {b}, [b = b.ref()](const Backward& run) {
                              Tensor db = Tensor::empty(*run.ctx.allocator, b.shape, b.dtype);
                              device::decayed_products_backward(run.saved[0], Tensor(), Tensor(), run.dy[0],
                                                                Tensor(), Tensor(), db);
                              run.add(b, db);
                          }});
    return y;
}

} // namespace braid::ops
