#include "ops/moe/routing_kernels.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/cpu/vector_math.h"

namespace braid::ops::cpu {
namespace {

constexpr double kTiny = 1e-20; // keeps a sum of scores that all underflow from dividing by zero

std::vector<double> to_doubles(const Tensor& bias, int64_t size) {
    std::vector<double> values(static_cast<size_t>(size));
    if (bias.defined())
        dispatch_float(bias.dtype(),
                       [&]<typename T>() { std::copy_n(bias.data<T>(), size, values.begin()); });
    return values;
}

template <typename T>
void scores(const T* logits, RoutingScore score, T* p, int64_t experts) {
    if (score == RoutingScore::sigmoid) return sigmoid(logits, p, experts);
    const T total = exp_sum(logits, max_value(logits, experts), p, experts);
    for (int64_t e = 0; e < experts; ++e) p[e] /= total;
}

/// The k with the largest score, which becomes kNoChoice.
void choose(std::vector<double>& score, int64_t k, int32_t* chosen) {
    for (int64_t j = 0; j < k; ++j) {
        const auto best = std::max_element(score.begin(), score.end()); // the first of equals
        chosen[j] = static_cast<int32_t>(best - score.begin());
        *best = kNoChoice;
    }
}

/// Takes the choice of the experts outside the best groups from a token's scores.
class GroupLimit {
  public:
    explicit GroupLimit(const RoutingOptions& options)
        : options_(options),
          group_score_(static_cast<size_t>(options.num_groups)),
          kept_(group_score_.size()) {}

    void apply(std::vector<double>& score) {
        const size_t size = score.size() / group_score_.size();
        for (size_t g = 0; g < group_score_.size(); ++g) {
            GroupScorer scorer;
            for (size_t i = 0; i < size; ++i) scorer.add(score[g * size + i]);
            group_score_[g] = scorer.score(options_.group_score);
        }
        choose(group_score_, options_.group_topk, kept_.data());
        for (size_t e = 0; e < score.size(); ++e)
            if (group_score_[e / size] != kNoChoice) score[e] = kNoChoice; // not one of those just chosen
    }

  private:
    RoutingOptions options_;
    std::vector<double> group_score_; // used up by the choice
    std::vector<int32_t> kept_;
};

/// Puts the given experts in the place of those chosen; whether they are other experts, in any order.
bool replace_choice(const int32_t* given, int64_t k, int32_t* chosen) {
    const bool same = std::is_permutation(given, given + k, chosen);
    std::copy_n(given, k, chosen);
    return !same;
}

/// The divisor that makes the scores of a token sum to one.
template <typename T>
double total_score(const T* p, int64_t experts) {
    double total = kTiny;
    for (int64_t e = 0; e < experts; ++e) total += static_cast<double>(p[e]);
    return total;
}

template <typename T>
double log_sum_exp(const T* x, int64_t n) {
    const T top = max_value(x, n);
    return static_cast<double>(top) + std::log(static_cast<double>(exp_sum<T>(x, top, nullptr, n)));
}

/// Adds term(t) for every token, in order.
template <typename Term>
double sum_over_tokens(int64_t tokens, const Term& term) {
    std::vector<double> terms(static_cast<size_t>(tokens));
#pragma omp parallel for schedule(static) if (tokens > 256)
    for (int64_t t = 0; t < tokens; ++t) terms[static_cast<size_t>(t)] = term(t);
    double sum = 0;
    for (const double value : terms) sum += value;
    return sum;
}

} // namespace

int64_t route(const Tensor& logits, const Tensor& bias, const RoutingOptions& options, const Tensor& given,
              const Tensor& expert, const Tensor& weight, const Tensor& probabilities) {
    const int64_t experts = logits.dim(1), k = options.k;
    if (given.defined())
        for (const int32_t e : given.span<int32_t>())
            check(e >= 0 && e < experts, "route: expert {} of {} was given", e, experts);
    const auto biases = to_doubles(bias, experts);
    int64_t num_flips = 0;
    dispatch_float(logits.dtype(), [&]<typename T>() {
#pragma omp parallel reduction(+ : num_flips) if (logits.dim(0) > 64)
        {
            std::vector<double> score(static_cast<size_t>(experts));
            GroupLimit limit(options);
#pragma omp for schedule(static)
            for (int64_t t = 0; t < logits.dim(0); ++t) {
                T* p = probabilities.data<T>() + t * experts;
                T* w = weight.data<T>() + t * k;
                int32_t* chosen = expert.data<int32_t>() + t * k;
                scores(logits.data<T>() + t * logits.row_stride(), options.score, p, experts);
                for (size_t e = 0; e < score.size(); ++e)
                    score[e] = choice_score(static_cast<double>(p[e]) + biases[e]);
                if (options.num_groups > 1) limit.apply(score);
                choose(score, k, chosen);
                if (given.defined()) num_flips += replace_choice(given.data<int32_t>() + t * k, k, chosen);
                T total = static_cast<T>(kTiny);
                for (int64_t j = 0; j < k; ++j) total += w[j] = p[chosen[j]];
                const T factor = static_cast<T>(options.scale) / (options.normalize ? total : T(1));
                for (int64_t j = 0; j < k; ++j) w[j] *= factor;
            }
        }
    });
    return num_flips;
}

void route_backward(const Tensor& dweight, const Tensor& dprobabilities, const Tensor& expert,
                    const Tensor& probabilities, const RoutingOptions& options, const Tensor& dlogits) {
    const int64_t experts = probabilities.dim(1), k = options.k;
    dispatch_float(dlogits.dtype(), [&]<typename T>() {
#pragma omp parallel for schedule(static) if (dlogits.dim(0) > 64)
        for (int64_t t = 0; t < dlogits.dim(0); ++t) {
            const T* p = probabilities.data<T>() + t * experts;
            const int32_t* chosen = expert.data<int32_t>() + t * k;
            T* dx = dlogits.data<T>() + t * experts; // holds dp first
            if (dprobabilities.defined())
                std::copy_n(dprobabilities.data<T>() + t * experts, experts, dx);
            else
                std::fill_n(dx, experts, T(0));
            if (dweight.defined()) {
                const T* dw = dweight.data<T>() + t * k;
                T total = options.normalize ? static_cast<T>(kTiny) : T(1), pull = 0;
                if (options.normalize) {
                    for (int64_t j = 0; j < k; ++j) total += p[chosen[j]];
                    for (int64_t j = 0; j < k; ++j) pull += dw[j] * p[chosen[j]] / total;
                }
                for (int64_t j = 0; j < k; ++j)
                    dx[chosen[j]] += static_cast<T>(options.scale) * (dw[j] - pull) / total;
            }
            const T mean = options.score == RoutingScore::softmax ? dot(p, dx, experts) : T(0);
            for (int64_t e = 0; e < experts; ++e)
                dx[e] = options.score == RoutingScore::softmax ? p[e] * (dx[e] - mean)
                                                               : dx[e] * p[e] * (T(1) - p[e]);
        }
    });
}

void balance_coefficients(const Tensor& counts, int64_t k, int64_t length, const Tensor& coefficients) {
    const auto experts = static_cast<double>(counts.dim(1)), size = static_cast<double>(length);
    for (int64_t i = 0; i < counts.numel(); ++i)
        coefficients.data<double>()[i] =
            experts * static_cast<double>(counts.data<int64_t>()[i]) / (static_cast<double>(k) * size) / size;
}

void weighted_probabilities(const Tensor& probabilities, const Tensor& coefficients, const TokenRows& rows,
                            const Tensor& sum) {
    const int64_t experts = probabilities.dim(1);
    dispatch_float(probabilities.dtype(), [&]<typename T>() {
        *sum.data<double>() = sum_over_tokens(probabilities.dim(0), [&](int64_t t) {
            const T* p = probabilities.data<T>() + t * probabilities.row_stride();
            const double* c = coefficients.data<double>() + rows.row_of(t) * experts;
            double sum = 0;
            for (int64_t e = 0; e < experts; ++e) sum += c[e] * static_cast<double>(p[e]);
            return sum / total_score(p, experts);
        });
    });
}

void weighted_probabilities_backward(const Tensor& scale, const Tensor& probabilities,
                                     const Tensor& coefficients, const TokenRows& rows,
                                     const Tensor& dprobabilities) {
    const double factor = *scale.data<double>();
    const int64_t experts = probabilities.dim(1);
    dispatch_float(probabilities.dtype(), [&]<typename T>() {
#pragma omp parallel for schedule(static) if (probabilities.dim(0) > 256)
        for (int64_t t = 0; t < probabilities.dim(0); ++t) {
            const T* p = probabilities.data<T>() + t * probabilities.row_stride();
            const double* c = coefficients.data<double>() + rows.row_of(t) * experts;
            T* dp = dprobabilities.data<T>() + t * experts;
            const double total = total_score(p, experts);
            double mean = 0;
            for (int64_t e = 0; e < experts; ++e) mean += c[e] * static_cast<double>(p[e]) / total;
            for (int64_t e = 0; e < experts; ++e) dp[e] = static_cast<T>(factor * (c[e] - mean) / total);
        }
    });
}

void router_z_loss(const Tensor& logits, const Tensor& sum) {
    dispatch_float(logits.dtype(), [&]<typename T>() {
        *sum.data<double>() = sum_over_tokens(logits.dim(0), [&](int64_t t) {
            const double lse = log_sum_exp(logits.data<T>() + t * logits.row_stride(), logits.dim(1));
            return lse * lse;
        });
    });
}

void router_z_loss_backward(const Tensor& scale, const Tensor& logits, const Tensor& dlogits) {
    const double factor = *scale.data<double>();
    const int64_t experts = logits.dim(1);
    dispatch_float(logits.dtype(), [&]<typename T>() {
#pragma omp parallel for schedule(static) if (logits.dim(0) > 256)
        for (int64_t t = 0; t < logits.dim(0); ++t) {
            const T* x = logits.data<T>() + t * logits.row_stride();
            T* dx = dlogits.data<T>() + t * experts;
            const double lse = log_sum_exp(x, experts);
            exp_sum(x, static_cast<T>(lse), dx, experts);
            for (int64_t e = 0; e < experts; ++e) dx[e] *= static_cast<T>(2 * factor * lse);
        }
    });
}

void count_experts(const Tensor& expert, const TokenRows& rows, const Tensor& counts) {
    const int64_t k = expert.dim(1), experts = counts.dim(1);
    for (int64_t t = 0; t < expert.dim(0); ++t)
        for (int64_t j = 0; j < k; ++j)
            ++counts.data<int64_t>()[rows.row_of(t) * experts + expert.data<int32_t>()[t * k + j]];
}

void update_router_bias(const Tensor& bias, const Tensor& counts, double rate) {
    const auto count = counts.span<int64_t>();
    const auto experts = static_cast<int64_t>(count.size());
    int64_t total = 0;
    for (const int64_t c : count) total += c;
    dispatch_float(bias.dtype(), [&]<typename T>() {
        for (size_t e = 0; e < count.size(); ++e) {
            const int64_t scaled = experts * count[e]; // compares with the total as the count with the mean
            const int sign = (scaled < total) - (scaled > total);
            bias.data<T>()[e] += static_cast<T>(rate * sign);
        }
    });
}

} // namespace braid::ops::cpu
