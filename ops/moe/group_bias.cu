#include "ops/cuda/row_math.h"
#include "ops/moe/group_bias_kernels.h"

namespace braid::ops::cuda {
namespace {

// S is what activations are stored in.

template <typename S>
void add_to_groups(const Tensor& x, const Tensor& b, const Tensor& offsets, int64_t first, const Tensor& y) {
    const ReadRows<S> in(x);
    const RowsView<S> out = rows_of<S>(y);
    const Accumulation<S>* vectors = b.data<Accumulation<S>>();
    const int64_t* offset = offsets.data<int64_t>();
    const int64_t width = y.dim(1), groups = b.dim(0), added = b.dim(1);
    for_each_row(y, y.dim(0), [=] __device__(int64_t row, int lane) {
        int64_t group = 0, last = groups - 1; // the first group that ends behind the row
        while (group < last) {
            const int64_t middle = (group + last) / 2;
            if (offset[middle + 1] > row)
                last = middle;
            else
                group = middle + 1;
        }
        for (int64_t j = lane; j < width; j += kWarp) {
            const int64_t at = j - first;
            const Accumulation<S> value = in.at(row, j);
            out[row][j] = static_cast<S>(at >= 0 && at < added ? value + vectors[group * added + at] : value);
        }
    });
}

template <typename S>
void sums_of_groups(const Tensor& dy, const Tensor& offsets, int64_t first, const Tensor& db) {
    const ReadRows<S> grad(dy);
    Accumulation<S>* sums = db.data<Accumulation<S>>();
    const int64_t* offset = offsets.data<int64_t>();
    const int64_t width = db.dim(1);
    for_each(db, db.numel(), [=] __device__(int64_t i) {
        const int64_t group = i / width, column = first + i % width;
        double total = 0;
        for (int64_t row = offset[group]; row < offset[group + 1]; ++row)
            total += static_cast<double>(grad.at(row, column));
        sums[i] += static_cast<Accumulation<S>>(total);
    });
}

} // namespace

void add_group_bias(const Tensor& x, const Tensor& b, const Tensor& offsets, int64_t first, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename S>() { add_to_groups<S>(x, b, offsets, first, y); });
}

void group_bias_gradient(const Tensor& dy, const Tensor& offsets, int64_t first, const Tensor& db) {
    dispatch_storage(dy.dtype(), [&]<typename S>() { sums_of_groups<S>(dy, offsets, first, db); });
}

} // namespace braid::ops::cuda
