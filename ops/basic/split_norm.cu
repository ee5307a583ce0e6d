#include "ops/basic/split_norm_kernels.h"

#include "ops/cuda/row_math.h"

namespace braid::ops::cuda {
namespace {

template <typename T>
struct SplitNormOf {
    const T *squares, *w;
    T width, eps, offset;

    SplitNormOf(const Tensor& squares, const Tensor& w, const SplitNorm& norm)
        : squares(squares.data<T>()),
          w(w.defined() ? w.data<T>() : nullptr),
          width(static_cast<T>(norm.width)),
          eps(static_cast<T>(norm.eps)),
          offset(norm.zero_centered ? T(1) : T(0)) {}
    __device__ __forceinline__ T scale(int64_t row) const {
        return T(1) / std::sqrt(squares[row] / width + eps);
    }
    __device__ __forceinline__ T factor(int64_t j) const { return offset + w[j]; }
};

template <typename S, typename T = Accumulation<S>>
void squares_of_rows(const Tensor& x, const Tensor& squares) {
    const ReadRows<S> in(x);
    T* out = squares.data<T>();
    const int64_t n = in.rows.width;
    for_each_row(squares, in.rows.count, [=] __device__(int64_t row, int lane) {
        const T sum = warp_sum_of<T>(lane, n, [&](int64_t j) { return in.at(row, j) * in.at(row, j); });
        if (lane == 0) out[row] = sum;
    });
}

template <typename S, typename T = Accumulation<S>>
void squares_gradient(const Tensor& x, const Tensor& dsquares, const Tensor& dx) {
    const ReadRows<S> in(x);
    const RowsView<S> out = rows_of<S>(dx);
    const T* grad = dsquares.data<T>();
    const int64_t n = in.rows.width;
    for_each(dx, in.rows.count * n, [=] __device__(int64_t i) {
        out[i / n][i % n] = static_cast<S>(T(2) * in.at(i / n, i % n) * grad[i / n]);
    });
}

template <typename S, typename T = Accumulation<S>>
void normalize(const Tensor& x, const Tensor& squares, const Tensor& w, const SplitNorm& norm,
               const Tensor& y) {
    const ReadRows<S> in(x);
    const RowsView<S> out = rows_of<S>(y);
    const SplitNormOf<T> of(squares, w, norm);
    const int64_t n = in.rows.width;
    for_each(y, in.rows.count * n, [=] __device__(int64_t i) {
        out[i / n][i % n] = static_cast<S>(in.at(i / n, i % n) * of.scale(i / n) * of.factor(i % n));
    });
}

template <typename S, typename T = Accumulation<S>>
void data_gradient(const Tensor& dy, const Tensor& x, const Tensor& squares, const Tensor& w,
                   const SplitNorm& norm, const Tensor& dx, const Tensor& dsquares) {
    const ReadRows<S> in(x), grad(dy);
    const RowsView<S> out = rows_of<S>(dx);
    const SplitNormOf<T> of(squares, w, norm);
    T* square_out = dsquares.data<T>();
    const int64_t n = in.rows.width;
    for_each_row(dsquares, in.rows.count, [=] __device__(int64_t row, int lane) {
        const T scale = of.scale(row);
        const T pull = warp_sum_of<T>(
            lane, n, [&](int64_t j) { return grad.at(row, j) * of.factor(j) * in.at(row, j); });
        for (int64_t j = lane; j < n; j += kWarp)
            out[row][j] = static_cast<S>(grad.at(row, j) * of.factor(j) * scale);
        // d/ds (s / width + eps)^(-1/2) = -scale³ / (2 width)
        if (lane == 0) square_out[row] = -pull * scale * scale * scale / (T(2) * of.width);
    });
}

template <typename S, typename T = Accumulation<S>>
void weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& squares, const SplitNorm& norm,
                     const Tensor& dw) {
    const ReadRows<S> in(x), grad(dy);
    const SplitNormOf<T> of(squares, {}, norm);
    sum_columns<T>(in.rows.count, in.rows.width, dw, [=] __device__(int64_t row, int64_t j) {
        return grad.at(row, j) * in.at(row, j) * of.scale(row);
    });
}

} // namespace

void row_squares(const Tensor& x, const Tensor& squares) {
    dispatch_storage(x.dtype(), [&]<typename S>() { squares_of_rows<S>(x, squares); });
}
void row_squares_gradient(const Tensor& x, const Tensor& dsquares, const Tensor& dx) {
    dispatch_storage(x.dtype(), [&]<typename S>() { squares_gradient<S>(x, dsquares, dx); });
}
void rms_norm_given_squares(const Tensor& x, const Tensor& squares, const Tensor& w, const SplitNorm& norm,
                            const Tensor& y) {
    dispatch_storage(x.dtype(), [&]<typename S>() { normalize<S>(x, squares, w, norm, y); });
}
void rms_norm_given_squares_data_gradient(const Tensor& dy, const Tensor& x, const Tensor& squares,
                                          const Tensor& w, const SplitNorm& norm, const Tensor& dx,
                                          const Tensor& dsquares) {
    dispatch_storage(x.dtype(),
                     [&]<typename S>() { data_gradient<S>(dy, x, squares, w, norm, dx, dsquares); });
}
void rms_norm_given_squares_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& squares,
                                            const SplitNorm& norm, const Tensor& dw) {
    dispatch_storage(x.dtype(), [&]<typename S>() { weight_gradient<S>(dy, x, squares, norm, dw); });
}

} // namespace braid::ops::cuda
