#include "ops/recurrence/delta_decay_kernels.h"

#include <algorithm>
#include <vector>

#include "ops/cpu/parallel.h"
#include "ops/cpu/vector_math.h"
#include "ops/cpu/widen.h"

namespace braid::ops::cpu {
namespace {

constexpr int64_t kBlockTokens = 256;

/// body(first token, number of tokens) for blocks of kBlockTokens of a [T, H].
template <typename Body>
void for_each_block(const Tensor& a, const Body& body) {
    const int64_t tokens = a.dim(0), blocks = (tokens + kBlockTokens - 1) / kBlockTokens;
    for_each_task(blocks, 16 * a.numel(), [&](int64_t block) {
        const int64_t first = block * kBlockTokens;
        body(first, std::min(kBlockTokens, tokens - first));
    });
}

/// out [count, H] = a + dt_bias for the tokens from `first`.
template <typename T>
void add_bias(const Tensor& a, const Tensor& dt_bias, int64_t first, int64_t count, T* out) {
    const int64_t heads = a.dim(1);
    for (int64_t t = 0; t < count; ++t)
        for (int64_t h = 0; h < heads; ++h)
            out[t * heads + h] = a.data<T>()[(first + t) * a.row_stride() + h] + dt_bias.data<T>()[h];
}

/// -exp(a_log), the derivative of g by softplus.
template <typename T>
std::vector<T> negative_rates(const Tensor& a_log) {
    std::vector<T> rates(static_cast<size_t>(a_log.numel()));
    exp(a_log.data<T>(), rates.data(), a_log.numel());
    for (T& rate : rates) rate = -rate;
    return rates;
}

/// out [count, H] = da for the tokens from `first`.
template <typename T>
void block_gradient(const Tensor& a, const std::vector<T>& rates, const Tensor& dt_bias, const Tensor& dg,
                    int64_t first, int64_t count, T* out) {
    const int64_t heads = a.dim(1);
    add_bias(a, dt_bias, first, count, out);
    sigmoid(out, out, count * heads);
    for (int64_t t = 0; t < count; ++t)
        for (int64_t h = 0; h < heads; ++h)
            out[t * heads + h] *= rates[static_cast<size_t>(h)] * dg.data<T>()[(first + t) * heads + h];
}

} // namespace

void delta_decay(const Tensor& stored, const Tensor& a_log, const Tensor& dt_bias, const Tensor& g) {
    const Tensor a = widened(stored);
    dispatch_float(g.dtype(), [&]<typename T>() {
        const int64_t heads = a.dim(1);
        const std::vector<T> rates = negative_rates<T>(a_log);
        for_each_block(a, [&](int64_t first, int64_t count) {
            T* out = g.data<T>() + first * heads;
            add_bias(a, dt_bias, first, count, out);
            softplus(out, out, count * heads);
            for (int64_t t = 0; t < count; ++t)
                for (int64_t h = 0; h < heads; ++h) out[t * heads + h] *= rates[static_cast<size_t>(h)];
        });
    });
}

void delta_decay_data_gradient(const Tensor& stored, const Tensor& a_log, const Tensor& dt_bias,
                               const Tensor& dg, const Tensor& da) {
    const Tensor a = widened(stored);
    const Rounded result(da);
    dispatch_float(dg.dtype(), [&]<typename T>() {
        const std::vector<T> rates = negative_rates<T>(a_log);
        for_each_block(a, [&](int64_t first, int64_t count) {
            block_gradient(a, rates, dt_bias, dg, first, count, result.data<T>() + first * a.dim(1));
        });
    });
}

void delta_decay_weight_gradient(const Tensor& stored, const Tensor& a_log, const Tensor& dt_bias,
                                 const Tensor& g, const Tensor& dg, const Tensor& d_a_log,
                                 const Tensor& d_dt_bias) {
    const Tensor a = widened(stored);
    dispatch_float(d_a_log.dtype(), [&]<typename T>() {
        const int64_t tokens = a.dim(0), heads = a.dim(1);
        const auto width = static_cast<size_t>(heads);
        const std::vector<T> rates = negative_rates<T>(a_log);
        // Blocks of tokens are summed apart, in double, and then in order.
        const int64_t blocks = (tokens + kBlockTokens - 1) / kBlockTokens;
        std::vector<double> sums(static_cast<size_t>(2 * blocks) * width);
        for_each_block(a, [&](int64_t first, int64_t count) {
            std::vector<T> da(static_cast<size_t>(count) * width);
            block_gradient(a, rates, dt_bias, dg, first, count, da.data());
            double* rate_sum = sums.data() + 2 * first / kBlockTokens * heads;
            double* bias_sum = rate_sum + heads;
            for (int64_t t = 0; t < count; ++t)
                for (int64_t h = 0; h < heads; ++h) {
                    const int64_t at = (first + t) * heads + h;
                    rate_sum[h] +=
                        static_cast<double>(dg.data<T>()[at]) * static_cast<double>(g.data<T>()[at]);
                    bias_sum[h] += static_cast<double>(da[static_cast<size_t>(t * heads + h)]);
                }
        });
        for (size_t h = 0; h < width; ++h) {
            double rate_total = 0, bias_total = 0;
            for (size_t block = 0; block < static_cast<size_t>(blocks); ++block) {
                rate_total += sums[2 * block * width + h];
                bias_total += sums[(2 * block + 1) * width + h];
            }
            d_a_log.data<T>()[h] += static_cast<T>(rate_total);
            d_dt_bias.data<T>()[h] += static_cast<T>(bias_total);
        }
    });
}

} // namespace braid::ops::cpu
