#pragma once

#include "ops/on_device.h"

namespace braid::ops {

enum class Pointwise : uint8_t { exp, log, softplus };

} // namespace braid::ops

namespace braid::ops::cpu {

void multiply(const Tensor& a, const Tensor& b, const Tensor& y);
void pointwise(const Tensor& x, Pointwise function, const Tensor& y);
/// dx = dy f'(x); y = f(x).
void pointwise_backward(const Tensor& x, const Tensor& y, const Tensor& dy, Pointwise function,
                        const Tensor& dx);
void clamp(const Tensor& x, double low, double high, const Tensor& y);
/// dx = dy where low <= x <= high, else 0.
void clamp_backward(const Tensor& x, const Tensor& dy, double low, double high, const Tensor& dx);
/// y[i, j] = x[i, j] factor[i % period] with x as rows of d.
void multiply_rows(const Tensor& x, const Tensor& factor, int64_t period, const Tensor& y);
/// sum[i] = the sum over j of x[i, j], or of x[i, j] z[i, j] where z is defined, with x as rows of d.
void sum_rows_of_product(const Tensor& x, const Tensor& z, int64_t width, const Tensor& sum);
/// x[i, j] = sum[i]: rows of d.
void repeat_columns(const Tensor& sum, int64_t width, const Tensor& x);
/// sum[h] = the sum over tokens of x [T, H], in order.
void sum_tokens(const Tensor& x, const Tensor& sum);
/// y[t, i] = x[t, i] + b[i].
void add_vector(const Tensor& x, const Tensor& b, const Tensor& y);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(multiply)
BRAID_KERNEL(pointwise)
BRAID_KERNEL(pointwise_backward)
BRAID_KERNEL(clamp)
BRAID_KERNEL(clamp_backward)
BRAID_KERNEL(multiply_rows)
BRAID_KERNEL(sum_rows_of_product)
BRAID_KERNEL(repeat_columns)
BRAID_KERNEL(sum_tokens)
BRAID_KERNEL(add_vector)

} // namespace braid::ops
