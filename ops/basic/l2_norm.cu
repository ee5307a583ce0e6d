#include "ops/basic/l2_norm_kernels.h"

#include "ops/cuda/row_math.h"

namespace braid::ops::cuda {
namespace {

template <typename S, typename T = Accumulation<S>>
void normalize(const Tensor& x, double eps_value, const Tensor& y, const Tensor& inverse_norm) {
    const ReadRows<S> in(x);
    const RowsView<S> out = rows_of<S>(y);
    T* inverse = inverse_norm.data<T>();
    const int64_t n = in.rows.width;
    const T eps = static_cast<T>(eps_value);
    for_each_row(y, in.rows.count, [=] __device__(int64_t row, int lane) {
        const T squares = warp_sum_of<T>(lane, n, [&](int64_t j) { return in.at(row, j) * in.at(row, j); });
        const T r = T(1) / std::sqrt(squares + eps);
        if (lane == 0) inverse[row] = r;
        for (int64_t j = lane; j < n; j += kWarp) out[row][j] = static_cast<S>(r * in.at(row, j));
    });
}

template <typename S, typename T = Accumulation<S>>
void gradient(const Tensor& y, const Tensor& inverse_norm, const Tensor& dy, const Tensor& dx) {
    const ReadRows<S> units(y), grad(dy);
    const RowsView<S> out = rows_of<S>(dx);
    const T* inverse = inverse_norm.data<T>();
    const int64_t n = units.rows.width;
    for_each_row(dx, units.rows.count, [=] __device__(int64_t row, int lane) {
        const T along =
            warp_sum_of<T>(lane, n, [&](int64_t j) { return grad.at(row, j) * units.at(row, j); });
        for (int64_t j = lane; j < n; j += kWarp)
            out[row][j] = static_cast<S>(inverse[row] * (grad.at(row, j) - along * units.at(row, j)));
    });
}

} // namespace

void l2_norm(const Tensor& x, double eps, const Tensor& y, const Tensor& inverse_norm) {
    dispatch_storage(x.dtype(), [&]<typename S>() { normalize<S>(x, eps, y, inverse_norm); });
}

void l2_norm_gradient(const Tensor& y, const Tensor& inverse_norm, const Tensor& dy, const Tensor& dx) {
    dispatch_storage(y.dtype(), [&]<typename S>() { gradient<S>(y, inverse_norm, dy, dx); });
}

} // namespace braid::ops::cuda
