#include "ops/recurrence/causal_conv.h"

#include <algorithm>

#include "ops/basic/elementwise_kernels.h"
#include "ops/compose/prefix.h"
#include "ops/recurrence/causal_conv_kernels.h"

namespace braid::ops {
namespace {

ConvReach find_reach(const Documents& documents, int64_t taps) {
    ConvReach reach;
    for (size_t d = 0; d + 1 < documents.offsets.size(); ++d) {
        const int64_t first = documents.offsets[d], end = documents.offsets[d + 1];
        for (int64_t t = first; t < end; ++t) {
            reach.before.push_back(static_cast<int32_t>(std::min(t - first, taps - 1)));
            reach.after.push_back(static_cast<int32_t>(std::min(end - 1 - t, taps - 1)));
        }
    }
    return reach;
}

void expect_sizes(const Tensor& x, const Parameter* w) {
    check(w->shape().rank() == 2 && w->shape()[1] >= 1, "causal_conv: a weight of shape {} is not [C, K]",
          to_string(w->shape()));
    expect_shape(x, {x.dim(0), w->shape()[0]}, "causal_conv, input");
}

} // namespace

Tensor causal_conv(Context& ctx, const Tensor& x, const Parameter* w, const DocumentsPtr& documents,
                   bool silu) {
    expect_sizes(x, w);
    check(documents->num_tokens() == x.dim(0), "causal_conv: documents of {} tokens for {} rows",
          documents->num_tokens(), x.dim(0));
    ProfileScope scope(ctx.profiler, "causal_conv");
    const int64_t taps = w->shape()[1];
    const double flops = 2.0 * static_cast<double>(x.numel()) * static_cast<double>(taps);
    scope.count_flops(flops);
    const auto reach = std::make_shared<ConvReach>(find_reach(*documents, taps));
    reach->upload(*ctx.allocator);
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    device::causal_conv(x, w->value(), *reach, silu, y, *ctx.allocator);
    if (!ctx.tape) return y;
    ctx.tape->record({"causal_conv",
                      {y.ref()},
                      {x},
                      [w, reach, silu, flops](const Backward& run) {
                          const Tensor& x = run.saved[0];
                          Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape(), x.dtype());
                          device::causal_conv_data_gradient(x, w->value(), *reach, silu, run.dy[0], dx,
                                                            *run.ctx.allocator);
                          run.count_flops(flops);
                          run.add(x.ref(), dx);
                      },
                      [w, reach, silu, flops](const Backward& run) {
                          device::causal_conv_weight_gradient(run.saved[0], w->value(), *reach, silu,
                                                              run.dy[0], w->gradient(), *run.ctx.allocator);
                          run.count_flops(flops);
                      }});
    return y;
}

ConvContinued causal_conv_continued(Context& ctx, const Tensor& x, const Parameter* w,
                                    const DocumentsPtr& documents, const Tensor& initial, bool silu) {
    expect_sizes(x, w);
    const int64_t reach = w->shape()[1] - 1, rows = documents->num_documents() * reach;
    if (initial.defined()) expect_shape(initial, {rows, x.dim(1)}, "causal_conv_continued, initial");
    const Tensor earlier =
        initial.defined() ? initial : Tensor::zeros(*ctx.allocator, {rows, x.dim(1)}, x.dtype());
    const Prefixed both(*ctx.allocator, *documents,
                        std::vector<int64_t>(static_cast<size_t>(documents->num_documents()), reach));
    const Tensor joined = both.join(ctx, earlier, x);
    const Tensor y = causal_conv(ctx, joined, w, both.documents(), silu);
    return {both.tokens(ctx, y), both.last(ctx, joined, reach)};
}

} // namespace braid::ops
