#include "ops/compose/pointwise.h"

#include "ops/basic/elementwise_kernels.h"
#include "ops/compose/pointwise_kernels.h"

namespace braid::ops {
namespace {

constexpr const char* kNames[] = {"exp", "log", "softplus"};

Tensor evaluate(Context& ctx, const Tensor& x, Pointwise function) {
    const char* const name = kNames[static_cast<int>(function)];
    ProfileScope scope(ctx.profiler, name);
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    device::pointwise(x, function, y);
    if (ctx.tape)
        ctx.tape->record({name, {y.ref()}, {x, y}, [x = x.ref(), function](const Backward& run) {
                              Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              device::pointwise_backward(run.saved[0], run.saved[1], run.dy[0], function, dx);
                              run.add(x, dx);
                          }});
    return y;
}

/// The shape without its last dimension.
Shape shape_of_rows(const Tensor& x) {
    const auto dims = x.shape().dims();
    return Shape(std::vector<int64_t>(dims.begin(), dims.end() - 1));
}

} // namespace

Tensor multiply(Context& ctx, const Tensor& a, const Tensor& b) {
    expect_shape(b, a.shape(), "multiply");
    check(a.dtype() == b.dtype(), "multiply: {} and {}", name_of(a.dtype()), name_of(b.dtype()));
    ProfileScope scope(ctx.profiler, "multiply");
    Tensor y = Tensor::empty(*ctx.allocator, a.shape(), a.dtype());
    device::multiply(a, b, y);
    if (ctx.tape)
        ctx.tape->record({"multiply", {y.ref()}, {a, b}, [a = a.ref(), b = b.ref()](const Backward& run) {
                              Tensor da = Tensor::empty(*run.ctx.allocator, a.shape, a.dtype);
                              device::multiply(run.dy[0], run.saved[1], da);
                              run.add(a, da);
                              Tensor db = Tensor::empty(*run.ctx.allocator, b.shape, b.dtype);
                              device::multiply(run.dy[0], run.saved[0], db);
                              run.add(b, db);
                          }});
    return y;
}

Tensor exp(Context& ctx, const Tensor& x) {
    return evaluate(ctx, x, Pointwise::exp);
}
Tensor log(Context& ctx, const Tensor& x) {
    return evaluate(ctx, x, Pointwise::log);
}
Tensor softplus(Context& ctx, const Tensor& x) {
    return evaluate(ctx, x, Pointwise::softplus);
}

Tensor clamp(Context& ctx, const Tensor& x, double low, double high) {
    check(low <= high, "clamp between {} and {}", low, high);
    ProfileScope scope(ctx.profiler, "clamp");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    device::clamp(x, low, high, y);
    if (ctx.tape)
        ctx.tape->record({"clamp", {y.ref()}, {x}, [x = x.ref(), low, high](const Backward& run) {
                              Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              device::clamp_backward(run.saved[0], run.dy[0], low, high, dx);
                              run.add(x, dx);
                          }});
    return y;
}

Tensor multiply_rows(Context& ctx, const Tensor& x, const Tensor& factor) {
    expect_shape(factor, shape_of_rows(x), "multiply_rows, factor");
    check(x.dtype() == factor.dtype(), "multiply_rows: {} and {}", name_of(x.dtype()),
          name_of(factor.dtype()));
    ProfileScope scope(ctx.profiler, "multiply_rows");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    device::multiply_rows(x, factor, std::max<int64_t>(factor.numel(), 1), y);
    if (ctx.tape)
        ctx.tape->record(
            {"multiply_rows", {y.ref()}, {x, factor}, [x = x.ref(), f = factor.ref()](const Backward& run) {
                 const Tensor &dy = run.dy[0], &factor = run.saved[1];
                 Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                 device::multiply_rows(dy, factor, std::max<int64_t>(factor.numel(), 1), dx);
                 run.add(x, dx);
                 Tensor df = Tensor::empty(*run.ctx.allocator, f.shape, f.dtype);
                 device::sum_rows_of_product(dy, run.saved[0], dy.dim(-1), df);
                 run.add(f, df);
             }});
    return y;
}

Tensor value_of(Context& ctx, const Parameter* w) {
    Tensor y = w->value().detach();
    if (ctx.tape)
        ctx.tape->record({"value_of", {y.ref()}, {}, nullptr, [w](const Backward& run) {
                              const Tensor& dw = w->gradient();
                              device::add(dw, run.dy[0], dw);
                          }});
    return y;
}

Tensor scale_heads(Context& ctx, const Tensor& x, const Tensor& w) {
    check(x.rank() == 3 && w.shape() == Shape({x.dim(1)}), "scale_heads of {} by {}", to_string(x.shape()),
          to_string(w.shape()));
    expect_dtype(w, accumulation_dtype(x.dtype()), "scale_heads, w");
    ProfileScope scope(ctx.profiler, "scale_heads");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    device::multiply_rows(x, w, std::max<int64_t>(x.dim(1), 1), y);
    if (ctx.tape)
        ctx.tape->record(
            {"scale_heads", {y.ref()}, {x, w}, [x = x.ref(), w = w.ref()](const Backward& run) {
                 Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                 device::multiply_rows(run.dy[0], run.saved[1], std::max<int64_t>(x.shape[1], 1), dx);
                 run.add(x, dx);
                 const Tensor products = Tensor::empty(*run.ctx.allocator, {x.shape[0], x.shape[1]}, w.dtype);
                 device::sum_rows_of_product(run.dy[0], run.saved[0], x.shape[2], products);
                 Tensor dw = Tensor::empty(*run.ctx.allocator, w.shape, w.dtype);
                 device::sum_tokens(products, dw);
                 run.add(w, dw);
             }});
    return y;
}

Tensor add_vector(Context& ctx, const Tensor& x, const Tensor& b) {
    check(x.rank() == 2 && b.shape() == Shape({x.dim(1)}), "add_vector of {} and {}", to_string(x.shape()),
          to_string(b.shape()));
    expect_dtype(b, accumulation_dtype(x.dtype()), "add_vector, b");
    ProfileScope scope(ctx.profiler, "add_vector");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    device::add_vector(x, b, y);
    if (ctx.tape)
        ctx.tape->record({"add_vector", {y.ref()}, {}, [x = x.ref(), b = b.ref()](const Backward& run) {
                              run.add(x, run.dy[0]);
                              Tensor db = Tensor::empty(*run.ctx.allocator, b.shape, b.dtype);
                              device::sum_tokens(run.dy[0], db);
                              run.add(b, db);
                          }});
    return y;
}

Tensor sum_columns(Context& ctx, const Tensor& x) {
    ProfileScope scope(ctx.profiler, "sum_columns");
    Tensor y = Tensor::empty(*ctx.allocator, shape_of_rows(x), x.dtype());
    device::sum_rows_of_product(x, Tensor(), x.dim(-1), y);
    if (ctx.tape)
        ctx.tape->record({"sum_columns", {y.ref()}, {}, [x = x.ref()](const Backward& run) {
                              Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              device::repeat_columns(run.dy[0], x.shape[x.shape.rank() - 1], dx);
                              run.add(x, dx);
                          }});
    return y;
}

} // namespace braid::ops
