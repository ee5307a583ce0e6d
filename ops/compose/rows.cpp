#include "ops/compose/rows.h"

#include <algorithm>
#include <numeric>

#include "ops/basic/split.h"
#include "ops/basic/split_kernels.h"
#include "ops/compose/rows_kernels.h"
#include "tensor/host_values.h"

namespace braid::ops {
namespace {

Shape with_rows(const Shape& shape, int64_t rows) {
    std::vector<int64_t> dims(shape.dims().begin(), shape.dims().end());
    dims.front() = rows;
    return Shape(dims);
}

} // namespace

RowIndex::RowIndex(Allocator& allocator, std::span<const int32_t> rows, int64_t num_rows)
    : num_rows_(num_rows) {
    std::vector<int32_t> first(static_cast<size_t>(num_rows) + 1, 0);
    for (const int32_t row : rows) {
        check(row >= -1 && row < num_rows, "row {} of {}", row, num_rows);
        if (row >= 0) ++first[static_cast<size_t>(row) + 1];
    }
    std::partial_sum(first.begin(), first.end(), first.begin());
    std::vector<int32_t> places(static_cast<size_t>(first.back())), next = first;
    for (size_t i = 0; i < rows.size(); ++i)
        if (rows[i] >= 0)
            places[static_cast<size_t>(next[static_cast<size_t>(rows[i])]++)] = static_cast<int32_t>(i);
    rows_ = tensor_of(allocator, std::vector<int32_t>(rows.begin(), rows.end()));
    first_ = tensor_of(allocator, first);
    places_ = tensor_of(allocator, places);
}

Tensor gather_rows(Context& ctx, const Tensor& x, const RowIndex& index) {
    check(x.dim(0) == index.num_rows(), "gather_rows of {} rows out of {}", index.num_rows(),
          to_string(x.shape()));
    ProfileScope scope(ctx.profiler, "gather_rows");
    Tensor y = Tensor::empty(*ctx.allocator, with_rows(x.shape(), index.num_gathered()), x.dtype());
    device::gather_rows(x, index.rows(), y);
    if (ctx.tape)
        ctx.tape->record(
            {"gather_rows", {y.ref()}, {index.first(), index.places()}, [x = x.ref()](const Backward& run) {
                 Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                 device::sum_rows_at(run.dy[0], run.saved[0], run.saved[1], dx);
                 run.add(x, dx);
             }});
    return y;
}

Tensor scatter_rows(Context& ctx, const Tensor& x, const RowIndex& index) {
    check(x.dim(0) == index.num_gathered(), "scatter_rows of {} rows given {}", index.num_gathered(),
          to_string(x.shape()));
    ProfileScope scope(ctx.profiler, "scatter_rows");
    Tensor y = Tensor::empty(*ctx.allocator, with_rows(x.shape(), index.num_rows()), x.dtype());
    device::sum_rows_at(x, index.first(), index.places(), y);
    if (ctx.tape)
        ctx.tape->record({"scatter_rows", {y.ref()}, {index.rows()}, [x = x.ref()](const Backward& run) {
                              Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              device::gather_rows(run.dy[0], run.saved[0], dx);
                              run.add(x, dx);
                          }});
    return y;
}

Tensor repeat_rows(Context& ctx, const Tensor& x, int64_t times) {
    check(times >= 1, "repeat_rows {} times", times);
    ProfileScope scope(ctx.profiler, "repeat_rows");
    Tensor y = Tensor::empty(*ctx.allocator, with_rows(x.shape(), x.dim(0) * times), x.dtype());
    device::repeat_rows(x, times, y);
    if (ctx.tape)
        ctx.tape->record({"repeat_rows", {y.ref()}, {}, [x = x.ref(), times](const Backward& run) {
                              Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              device::sum_repeated_rows(run.dy[0], times, dx);
                              run.add(x, dx);
                          }});
    return y;
}

Tensor swap_rows(Context& ctx, const Tensor& x) {
    check(x.rank() == 3, "swap_rows of {}", to_string(x.shape()));
    ProfileScope scope(ctx.profiler, "swap_rows");
    Tensor y = Tensor::empty(*ctx.allocator, {x.dim(1), x.dim(0), x.dim(2)}, x.dtype());
    device::swap_rows(x, y);
    if (ctx.tape)
        ctx.tape->record({"swap_rows", {y.ref()}, {}, [x = x.ref()](const Backward& run) {
                              Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              device::swap_rows(run.dy[0], dx);
                              run.add(x, dx);
                          }});
    return y;
}

Tensor packed(Context& ctx, const Tensor& x) {
    if (x.is_contiguous()) return x;
    const Tensor rows = x.view({x.dim(0), x.dim(0) > 0 ? x.numel() / x.dim(0) : 0});
    return concatenate_columns(ctx, std::span(&rows, 1)).view(x.shape());
}

Tensor concatenate_columns(Context& ctx, std::span<const Tensor> parts) {
    check(!parts.empty(), "concatenate_columns of nothing");
    std::vector<int64_t> sizes;
    std::vector<ValueRef> refs;
    for (const Tensor& part : parts) {
        expect_shape(part, {parts[0].dim(0), part.dim(1)}, "concatenate_columns");
        expect_dtype(part, parts[0].dtype(), "concatenate_columns");
        sizes.push_back(part.dim(1));
        refs.push_back(part.ref());
    }
    const int64_t width = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
    ProfileScope scope(ctx.profiler, "concatenate_columns");
    Tensor y = Tensor::empty(*ctx.allocator, {parts[0].dim(0), width}, parts[0].dtype());
    device::concatenate_columns(parts, sizes, y);
    if (ctx.tape)
        ctx.tape->record({"concatenate_columns", {y.ref()}, {}, [refs, sizes](const Backward& run) {
                              int64_t first = 0;
                              for (size_t i = 0; i < refs.size(); ++i) {
                                  const Tensor part = run.dy[0].columns(first, sizes[i]);
                                  Tensor dx = Tensor::empty(*run.ctx.allocator, refs[i].shape, refs[i].dtype);
                                  device::concatenate_columns(std::span(&part, 1), std::span(&sizes[i], 1),
                                                              dx);
                                  run.add(refs[i], dx);
                                  first += sizes[i];
                              }
                          }});
    return y;
}

} // namespace braid::ops
