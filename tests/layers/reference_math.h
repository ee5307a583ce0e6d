#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>

#include "layers/mixers/rope_config.h"
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

/// W x of NAME.weight, and + b of NAME.bias where it is biased.
inline Row affine(const Weights& weights, const std::string& name, bool biased, const Row& x) {
    Row y = multiply(weights.matrix(name + ".weight"), x);
    if (!biased) return y;
    const Row b = weights.vector(name + ".bias");
    for (size_t i = 0; i < y.size(); ++i) y[i] += b[i];
    return y;
}

template <typename T>
bool contains(const std::vector<T>& list, T value) {
    return std::count(list.begin(), list.end(), value) > 0;
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

/// The angle of pair i of n / 2 at a position, and what the pair is multiplied with: of YaRN, the equations
/// of its paper with the ramp's ends rounded, as its code does.
inline std::pair<double, double> turn_of(const RopeConfig& rope, int64_t i, double n, double position) {
    const double frequency = std::pow(rope.theta, -2.0 * static_cast<double>(i) / n);
    if (rope.scaling.type != ops::RopeScalingType::yarn) return {position * frequency, 1.0};
    const auto border = [&](double turns) {
        return n * std::log(static_cast<double>(rope.scaling.original_length) / (turns * 2 * M_PI)) /
               (2 * std::log(rope.theta));
    };
    const double low = std::max(std::floor(border(rope.scaling.beta_fast)), 0.0),
                 high = std::min(std::ceil(border(rope.scaling.beta_slow)), n - 1);
    const double slowed = std::min(std::max((static_cast<double>(i) - low) / (high - low), 0.0), 1.0);
    return {position * frequency * (1 - slowed + slowed / rope.scaling.factor),
            0.1 * std::log(rope.scaling.factor) + 1};
}

/// Rotates pairs of the first n = fraction d numbers.
inline Row rotate(Row x, const RopeConfig& rope, int64_t position) {
    const auto n = static_cast<int64_t>(std::llround(rope.fraction * static_cast<double>(x.size())));
    const bool neighbours = rope.pairing == ops::RopePairing::interleaved;
    for (int64_t i = 0; i < n / 2; ++i) {
        const auto [angle, factor] = turn_of(rope, i, static_cast<double>(n), static_cast<double>(position));
        double& a = x[static_cast<size_t>(neighbours ? 2 * i : i)];
        double& b = x[static_cast<size_t>(neighbours ? 2 * i + 1 : i + n / 2)];
        const double a0 = factor * a, b0 = factor * b;
        a = a0 * std::cos(angle) - b0 * std::sin(angle);
        b = b0 * std::cos(angle) + a0 * std::sin(angle);
    }
    return x;
}

} // namespace braid::testing::reference
