#pragma once

#include "ops/compose/decay_kernels.h"

namespace braid::ops::BRAID_BODIES {
namespace {

/// The elements of a packed tensor, or ones.
template <typename T>
struct OrOnes {
    const T* data;
    explicit OrOnes(const Tensor& x) : data(x.defined() ? x.data<T>() : nullptr) {
        check(!x.defined() || x.is_contiguous(), "expected packed rows");
    }
    constexpr T operator[](int64_t i) const { return data ? data[i] : T(1); }
};

/// What one row has of a dimension: 1 for b [B, n].
int64_t row_size(const Tensor& b) {
    return b.rank() == 3 ? b.dim(2) : 1;
}

template <typename T>
void products(const Tensor& b, const Tensor& q, const Tensor& k, const Tensor& y) {
    const OrOnes<T> sums(b), queries(q), keys(k);
    const int64_t rows = b.dim(1), size = row_size(b);
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] BRAID_BODY(int64_t at) {
        const int64_t batch = at / (rows * rows), i = at / rows % rows, j = at % rows;
        const int64_t left = (batch * rows + i) * size, right = (batch * rows + j) * size;
        T sum = 0;
        for (int64_t d = 0; j <= i && d < size; ++d)
            sum += queries[left + d] * keys[right + d] * std::exp(sums[left + d] - sums[right + d]);
        out[at] = sum;
    });
}

template <typename T>
void products_backward(const Tensor& b, const Tensor& q, const Tensor& k, const Tensor& dy, const Tensor& dq,
                       const Tensor& dk, const Tensor& db) {
    const OrOnes<T> sums(b), queries(q), keys(k), gradient(dy);
    const int64_t rows = b.dim(1), size = row_size(b);
    T *to_q = dq.defined() ? dq.data<T>() : nullptr, *to_k = dk.defined() ? dk.data<T>() : nullptr,
      *to_b = db.data<T>();
    for_each(db, db.numel(), [=] BRAID_BODY(int64_t at) {
        const int64_t batch = at / (rows * size), i = at / size % rows, d = at % size;
        T as_query = 0, as_key = 0;
        for (int64_t j = 0; j <= i; ++j) {
            const int64_t other = (batch * rows + j) * size + d;
            as_query +=
                gradient[(batch * rows + i) * rows + j] * keys[other] * std::exp(sums[at] - sums[other]);
        }
        for (int64_t j = i; j < rows; ++j) {
            const int64_t other = (batch * rows + j) * size + d;
            as_key +=
                gradient[(batch * rows + j) * rows + i] * queries[other] * std::exp(sums[other] - sums[at]);
        }
        if (to_q) to_q[at] = as_query;
        if (to_k) to_k[at] = as_key;
        to_b[at] = queries[at] * as_query - keys[at] * as_key;
    });
}

} // namespace

void decayed_products(const Tensor& b, const Tensor& q, const Tensor& k, const Tensor& y) {
    dispatch_float(y.dtype(), [&]<typename T>() { products<T>(b, q, k, y); });
}

void decayed_products_backward(const Tensor& b, const Tensor& q, const Tensor& k, const Tensor& dy,
                               const Tensor& dq, const Tensor& dk, const Tensor& db) {
    dispatch_float(db.dtype(), [&]<typename T>() { products_backward<T>(b, q, k, dy, dq, dk, db); });
}

} // namespace braid::ops::BRAID_BODIES
