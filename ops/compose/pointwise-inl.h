#pragma once

#include "ops/compose/pointwise_kernels.h"

namespace braid::ops::BRAID_BODIES {
namespace {

template <typename T>
void multiply_elements(const Tensor& a, const Tensor& b, const Tensor& y) {
    const Strided<T> left(a), right(b);
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] BRAID_BODY(int64_t i) { out[i] = static_cast<T>(left[i] * right[i]); });
}

template <typename T>
void evaluate(const Tensor& x, Pointwise function, const Tensor& y) {
    const Strided<T> in(x);
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] BRAID_BODY(int64_t i) {
        const Accumulation<T> at = in[i];
        if (function == Pointwise::exp) out[i] = static_cast<T>(std::exp(at));
        if (function == Pointwise::log) out[i] = static_cast<T>(std::log(at));
        if (function == Pointwise::softplus) // neither e^x nor e^-x may overflow
            out[i] = static_cast<T>((at > 0 ? at : at * 0) + std::log1p(std::exp(at > 0 ? -at : at)));
    });
}

template <typename T>
void evaluate_backward(const Tensor& x, const Tensor& y, const Tensor& dy, Pointwise function,
                       const Tensor& dx) {
    const Strided<T> in(x), result(y), gradient(dy);
    T* out = dx.data<T>();
    for_each(dx, dx.numel(), [=] BRAID_BODY(int64_t i) {
        Accumulation<T> slope = result[i]; // of exp
        if (function == Pointwise::log) slope = 1 / in[i];
        if (function == Pointwise::softplus) slope = 1 / (1 + std::exp(-in[i]));
        out[i] = static_cast<T>(gradient[i] * slope);
    });
}

template <typename T>
void keep_within(const Tensor& x, double low, double high, const Tensor& y) {
    const Strided<T> in(x);
    T* out = y.data<T>();
    const auto least = static_cast<Accumulation<T>>(low), most = static_cast<Accumulation<T>>(high);
    for_each(y, y.numel(), [=] BRAID_BODY(int64_t i) {
        const Accumulation<T> at = in[i];
        out[i] = static_cast<T>(at < least ? least : at > most ? most : at); // NaN stays
    });
}

template <typename T>
void pass_within(const Tensor& x, const Tensor& dy, double low, double high, const Tensor& dx) {
    const Strided<T> in(x), gradient(dy);
    T* out = dx.data<T>();
    const auto least = static_cast<Accumulation<T>>(low), most = static_cast<Accumulation<T>>(high);
    for_each(dx, dx.numel(), [=] BRAID_BODY(int64_t i) {
        const Accumulation<T> at = in[i], slope = gradient[i];
        out[i] = static_cast<T>(at < least || at > most ? slope * 0 : slope);
    });
}

template <typename T, typename Factor>
void multiply_each_row(const Tensor& x, const Tensor& factor, int64_t period, const Tensor& y) {
    const Strided<T> in(x);
    const Strided<Factor> factors(factor);
    const int64_t width = y.dim(-1);
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] BRAID_BODY(int64_t i) {
        out[i] = static_cast<T>(in[i] * static_cast<Accumulation<T>>(factors[i / width % period]));
    });
}

template <typename T, typename Sum>
void sum_each_row(const Tensor& x, const Tensor& z, int64_t width, const Tensor& sum) {
    const Strided<T> left(x), right(z.defined() ? z : x);
    const bool is_product = z.defined();
    Sum* out = sum.data<Sum>();
    for_each(sum, sum.numel(), [=] BRAID_BODY(int64_t i) {
        Accumulation<T> total = 0;
        for (int64_t j = i * width; j < (i + 1) * width; ++j)
            total += is_product ? left[j] * right[j] : left[j];
        out[i] = static_cast<Sum>(total);
    });
}

template <typename T>
void repeat_each_column(const Tensor& sum, int64_t width, const Tensor& x) {
    const Strided<T> in(sum);
    T* out = x.data<T>();
    for_each(x, x.numel(), [=] BRAID_BODY(int64_t i) { out[i] = static_cast<T>(in[i / width]); });
}

template <typename T>
void sum_each_token(const Tensor& x, const Tensor& sum) {
    const Strided<T> in(x);
    const int64_t tokens = x.dim(0), width = sum.numel();
    Accumulation<T>* out = sum.data<Accumulation<T>>();
    for_each(sum, width, [=] BRAID_BODY(int64_t i) {
        double total = 0; // in order, whatever the number of threads
        for (int64_t t = 0; t < tokens; ++t) total += static_cast<double>(in[t * width + i]);
        out[i] = static_cast<Accumulation<T>>(total);
    });
}

template <typename T>
void add_to_each_row(const Tensor& x, const Tensor& b, const Tensor& y) {
    const Strided<T> in(x);
    const Accumulation<T>* vector = b.data<Accumulation<T>>();
    const int64_t width = b.numel();
    T* out = y.data<T>();
    for_each(y, y.numel(), [=] BRAID_BODY(int64_t i) { out[i] = static_cast<T>(in[i] + vector[i % width]); });
}

/// Calls body<T, Other>() for T of x and Other of a tensor beside it, which has x's dtype or that of x's
/// sums.
template <typename Body>
void dispatch_beside(const Tensor& x, const Tensor& other, const Body& body) {
    dispatch_storage(x.dtype(), [&]<typename T>() {
        if (other.dtype() == x.dtype()) return body.template operator()<T, T>();
        expect_dtype(other, accumulation_dtype(x.dtype()), "a tensor beside another");
        body.template operator()<T, Accumulation<T>>();
    });
}

} // namespace

void multiply(const Tensor& a, const Tensor& b, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() { multiply_elements<T>(a, b, y); });
}

void pointwise(const Tensor& x, Pointwise function, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() { evaluate<T>(x, function, y); });
}

void pointwise_backward(const Tensor& x, const Tensor& y, const Tensor& dy, Pointwise function,
                        const Tensor& dx) {
    dispatch_storage(dx.dtype(), [&]<typename T>() { evaluate_backward<T>(x, y, dy, function, dx); });
}

void clamp(const Tensor& x, double low, double high, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() { keep_within<T>(x, low, high, y); });
}

void clamp_backward(const Tensor& x, const Tensor& dy, double low, double high, const Tensor& dx) {
    dispatch_storage(dx.dtype(), [&]<typename T>() { pass_within<T>(x, dy, low, high, dx); });
}

void multiply_rows(const Tensor& x, const Tensor& factor, int64_t period, const Tensor& y) {
    dispatch_beside(x, factor, [&]<typename T, typename Factor>() {
        multiply_each_row<T, Factor>(x, factor, period, y);
    });
}

void sum_rows_of_product(const Tensor& x, const Tensor& z, int64_t width, const Tensor& sum) {
    dispatch_beside(x, sum, [&]<typename T, typename Sum>() { sum_each_row<T, Sum>(x, z, width, sum); });
}

void repeat_columns(const Tensor& sum, int64_t width, const Tensor& x) {
    dispatch_storage(x.dtype(), [&]<typename T>() { repeat_each_column<T>(sum, width, x); });
}

void sum_tokens(const Tensor& x, const Tensor& sum) {
    dispatch_storage(x.dtype(), [&]<typename T>() { sum_each_token<T>(x, sum); });
}

void add_vector(const Tensor& x, const Tensor& b, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() { add_to_each_row<T>(x, b, y); });
}

} // namespace braid::ops::BRAID_BODIES
