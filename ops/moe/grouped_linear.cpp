#include "ops/moe/grouped_linear.h"

#include "ops/moe/grouped_linear_kernels.h"

namespace braid::ops {
namespace {

void expect_offsets(const Tensor& offsets, int64_t groups, int64_t rows) {
    expect_shape(offsets, {groups + 1}, "grouped_linear, offsets");
    if (offsets.device().kind != DeviceKind::cpu) return; // to look at them the host would have to wait
    const auto offset = offsets.span<int64_t>();
    check(offset.front() == 0 && offset.back() == rows, "grouped_linear: offsets from {} to {} for {} rows",
          offset.front(), offset.back(), rows);
    for (size_t e = 1; e < offset.size(); ++e)
        check(offset[e - 1] <= offset[e], "grouped_linear: offset {} is {}, then {}", e, offset[e - 1],
              offset[e]);
}

} // namespace

Tensor grouped_linear(Context& ctx, const Tensor& x, const Parameter* w, const Tensor& offsets) {
    check(w->shape().rank() == 3, "grouped_linear: a weight of shape {} is not [groups, out, in]",
          to_string(w->shape()));
    const int64_t rows = x.dim(0), groups = w->shape()[0], out = w->shape()[1], in = w->shape()[2];
    expect_shape(x, {rows, in}, "grouped_linear, input");
    expect_dtype(x, w->compute_value().dtype(), "grouped_linear, input");
    expect_offsets(offsets, groups, rows);
    ProfileScope scope(ctx.profiler, "grouped_linear");
    const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(out) * static_cast<double>(in);
    scope.count_flops(flops);
    Tensor y = Tensor::empty(*ctx.allocator, {rows, out}, x.dtype());
    device::grouped_linear(x, *w, offsets, y);
    if (!ctx.tape) return y;
    ctx.tape->record({"grouped_linear",
                      {y.ref()},
                      {x, offsets},
                      [x = x.ref(), w, flops](const Backward& run) {
                          Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                          device::grouped_linear_data_gradient(run.dy[0], *w, run.saved[1], dx);
                          run.count_flops(flops);
                          run.add(x, dx);
                      },
                      [w, flops](const Backward& run) {
                          device::grouped_linear_weight_gradient(run.dy[0], run.saved[0], run.saved[1],
                                                                 w->gradient());
                          run.count_flops(flops);
                      }});
    return y;
}

} // namespace braid::ops
