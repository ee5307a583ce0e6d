#include "ops/basic/split.h"

#include <numeric>

#include "ops/basic/split_kernels.h"

namespace braid::ops {

std::vector<Tensor> split_columns(Context& ctx, const Tensor& x, std::span<const int64_t> sizes) {
    expect_shape(x, {x.dim(0), std::accumulate(sizes.begin(), sizes.end(), int64_t{0})}, "split_columns");
    std::vector<Tensor> parts;
    std::vector<ValueRef> refs;
    int64_t first = 0;
    for (const int64_t size : sizes) {
        parts.push_back(x.columns(first, size));
        refs.push_back(parts.back().ref());
        first += size;
    }
    if (ctx.tape)
        ctx.tape->record(
            {"split_columns",
             std::move(refs),
             {},
             [x = x.ref(), sizes = std::vector<int64_t>(sizes.begin(), sizes.end())](const Backward& run) {
                 Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                 device::concatenate_columns(run.dy, sizes, dx);
                 run.add(x, dx);
             }});
    return parts;
}

} // namespace braid::ops
