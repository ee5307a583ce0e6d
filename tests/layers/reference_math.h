#pragma once

#include <cmath>
#include <numeric>

#include "tests/layers/reference.h"

namespace braid::testing::reference {

inline double sigmoid(double x) {
    return 1 / (1 + std::exp(-x));
}
inline double silu(double x) {
    return x * sigmoid(x);
}
inline double gelu(double x) {
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

inline Row multiply(const Matrix& w, const Row& x) {
    Row y;
    for (const Row& row : w) y.push_back(std::inner_product(row.begin(), row.end(), x.begin(), 0.0));
    return y;
}

inline Row slice(const Row& x, int64_t first, int64_t count) {
    return Row(x.begin() + first, x.begin() + first + count);
}

inline void append(Row& x, const Row& y) {
    x.insert(x.end(), y.begin(), y.end());
}

inline Row rms(const Row& x, const Row& w, double eps, bool zero_centered) {
    double square = 0;
    for (double v : x) square += v * v / static_cast<double>(x.size());
    Row y;
    for (size_t i = 0; i < x.size(); ++i)
        y.push_back(x[i] / std::sqrt(square + eps) * (zero_centered ? 1 + w[i] : w[i]));
    return y;
}

inline Row norm(const Weights& weights, const NormConfig& config, const std::string& name, const Row& x) {
    const Row w = weights.vector(name + ".weight");
    if (config.type == NormType::rms) return rms(x, w, config.eps, config.zero_centered);
    const Row bias = weights.vector(name + ".bias");
    const double n = static_cast<double>(x.size()), mean = std::accumulate(x.begin(), x.end(), 0.0) / n;
    double variance = 0;
    for (double v : x) variance += (v - mean) * (v - mean) / n;
    Row y;
    for (size_t i = 0; i < x.size(); ++i)
        y.push_back((x[i] - mean) / std::sqrt(variance + config.eps) * w[i] + bias[i]);
    return y;
}

/// Row t of a depthwise causal convolution of x [T, channels], w [channels, taps], the current token's last.
inline Row convolved(const Matrix& x, size_t t, const Matrix& w) {
    Row y(w.size(), 0.0);
    for (size_t channel = 0; channel < w.size(); ++channel)
        for (size_t back = 0; back < w[channel].size() && back <= t; ++back)
            y[channel] += w[channel][w[channel].size() - 1 - back] * x[t - back][channel];
    return y;
}

} // namespace braid::testing::reference
