#include "ops/moe/routing_kernels.h"

#include <limits>

#include "tensor/cuda/for_each.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

// A warp works on one token, lane l on the experts l, l + 32, ...; sums over experts are warp sums.

constexpr double kTiny = 1e-20; // as on the CPU
constexpr unsigned kAllLanes = 0xffffffffu;

/// Where something stands in a choice: larger scores first, equal ones in order of index.
struct ChoicePlace {
    double score = std::numeric_limits<double>::infinity();
    int64_t index = -1; // as it stands here, before all others

    __device__ bool is_after(const ChoicePlace& other) const {
        return score < other.score || (score == other.score && index > other.index);
    }
};

/// The first of 0, 1, .. count - 1 that stands after `last`, where score(i) is not kNoChoice: choosing in
/// turn, nothing needs to be marked as taken. The same on all lanes.
template <typename Score>
__device__ ChoicePlace next_choice(int64_t count, const ChoicePlace& last, int lane, const Score& score) {
    ChoicePlace best{kNoChoice, count};
    // Four would take so many registers that fewer blocks run at once.
#pragma unroll 2
    for (int64_t i = lane; i < count; i += kWarp) {
        const ChoicePlace place{score(i), i};
        if (place.is_after(last) && place.score > best.score) best = place;
    }
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
        const ChoicePlace other{__shfl_xor_sync(kAllLanes, best.score, lanes),
                                __shfl_xor_sync(kAllLanes, best.index, lanes)};
        if (best.is_after(other)) best = other;
    }
    return best;
}

/// What route() reads and writes.
template <typename T>
struct RouteTokens {
    const T* logits;
    int64_t stride, experts, k;
    const float* bias32; // of these at most one is not null
    const double* bias64;
    const int32_t* given; // null for none
    RoutingOptions options;
    double* group_scores; // [T, num_groups], null for one group
    int32_t* expert;
    T *weight, *probabilities;
    unsigned long long*
        counts; // with given experts: tokens whose own are others; given ones that do not exist

    __device__ void operator()(int64_t t, int lane) const {
        T* p = probabilities + t * experts;
        int32_t* chosen = expert + t * k;
        write_scores(logits + t * stride, p, lane);
        choose(p, group_scores ? group_scores + t * options.num_groups : nullptr, chosen, lane);
        if (given) {
            if (lane == 0) replace_choice(given + t * k, chosen);
            __syncwarp(); // the other lanes see what this one wrote
        }
        T total = static_cast<T>(kTiny);
        for (int64_t j = 0; j < k; ++j) total += p[chosen[j]];
        const T factor = static_cast<T>(options.scale) / (options.normalize ? total : T(1));
        for (int64_t j = lane; j < k; j += kWarp) weight[t * k + j] = p[chosen[j]] * factor;
    }

    __device__ void write_scores(const T* x, T* p, int lane) const {
        if (options.score == RoutingScore::sigmoid) {
            for (int64_t e = lane; e < experts; e += kWarp) {
                const T small = std::exp(-std::abs(x[e])); // small relative error in both tails
                p[e] = (x[e] < 0 ? small : T(1)) / (T(1) + small);
            }
        } else {
            T top = -std::numeric_limits<T>::infinity(), total = 0;
            for (int64_t e = lane; e < experts; e += kWarp) top = x[e] > top ? x[e] : top;
            top = warp_max(top);
            for (int64_t e = lane; e < experts; e += kWarp) total += p[e] = std::exp(x[e] - top);
            total = warp_sum(total);
            for (int64_t e = lane; e < experts; e += kWarp) p[e] /= total;
        }
    }

    __device__ double score_of(const T* p, int64_t e) const {
        return choice_score(static_cast<double>(p[e]) + (bias32   ? static_cast<double>(bias32[e])
                                                         : bias64 ? bias64[e]
                                                                  : 0));
    }

    /// The experts of a token, in order. `groups` is room for the scores of its groups, null for one group.
    __device__ void choose(const T* p, double* groups, int32_t* chosen, int lane) const {
        const ChoicePlace last_group = groups ? choose_groups(p, groups, lane) : ChoicePlace();
        const auto size = static_cast<int>(experts / options.num_groups);
        ChoicePlace last;
        for (int64_t j = 0; j < k; ++j) {
            last = next_choice(experts, last, lane, [&](int64_t e) {
                if (groups) {
                    const int g = static_cast<int>(e) / size;
                    if (ChoicePlace{groups[g], g}.is_after(last_group)) return kNoChoice;
                }
                return score_of(p, e);
            });
            if (lane == 0) chosen[j] = static_cast<int32_t>(last.index);
        }
        __syncwarp();
    }

    /// Scores the groups of a token; the last of those whose experts may be chosen.
    __device__ ChoicePlace choose_groups(const T* p, double* groups, int lane) const {
        const int64_t size = experts / options.num_groups;
        __syncwarp(); // the scores of experts come from other lanes
        for (int64_t g = lane; g < options.num_groups; g += kWarp) {
            GroupScorer scorer;
            for (int64_t i = 0; i < size; ++i) scorer.add(score_of(p, g * size + i));
            groups[g] = scorer.score(options.group_score);
        }
        __syncwarp(); // and those of groups go to them
        ChoicePlace last;
        for (int64_t j = 0; j < options.group_topk; ++j)
            last = next_choice(options.num_groups, last, lane, [&](int64_t g) { return groups[g]; });
        return last;
    }

    /// Puts the given experts of a token in the place of its own. One lane.
    __device__ void replace_choice(const int32_t* wanted, int32_t* chosen) const {
        bool same = true;
        for (int64_t j = 0; j < k; ++j) {
            int64_t difference = 0;
            for (int64_t i = 0; i < k; ++i) difference += (wanted[i] == wanted[j]) - (chosen[i] == wanted[j]);
            same &= difference == 0;
        }
        if (!same) atomicAdd(counts, 1ull);
        for (int64_t j = 0; j < k; ++j) {
            const bool exists = wanted[j] >= 0 && wanted[j] < experts;
            if (!exists) atomicAdd(counts + 1, 1ull);
            chosen[j] = exists ? wanted[j] : 0;
        }
    }
};

template <typename T>
struct RouteBackward {
    const T *dweight, *dprobabilities; // either may be null
    const int32_t* expert;
    const T* probabilities;
    int64_t experts;
    RoutingOptions options;
    T* dlogits;

    __device__ void operator()(int64_t t, int lane) const {
        const int64_t k = options.k;
        const T* p = probabilities + t * experts;
        const T* dw = dweight ? dweight + t * k : nullptr;
        const int32_t* chosen = expert + t * k;
        T* dx = dlogits + t * experts; // holds dp first
        T total = options.normalize ? static_cast<T>(kTiny) : T(1), pull = 0;
        if (dw && options.normalize) {
            for (int64_t j = 0; j < k; ++j) total += p[chosen[j]];
            for (int64_t j = 0; j < k; ++j) pull += dw[j] * p[chosen[j]] / total;
        }
        T mean = 0;
        for (int64_t e = lane; e < experts; e += kWarp) {
            T dp = dprobabilities ? dprobabilities[t * experts + e] : T(0);
            for (int64_t j = 0; dw && j < k; ++j)
                if (chosen[j] == e) dp += static_cast<T>(options.scale) * (dw[j] - pull) / total;
            dx[e] = dp;
            mean += p[e] * dp;
        }
        const bool softmax = options.score == RoutingScore::softmax;
        mean = warp_sum(mean);
        for (int64_t e = lane; e < experts; e += kWarp)
            dx[e] = softmax ? p[e] * (dx[e] - mean) : dx[e] * p[e] * (T(1) - p[e]);
    }
};

/// The divisor that makes the scores of a token sum to one.
template <typename T>
__device__ double total_score(const T* p, int64_t experts, int lane) {
    double total = 0;
    for (int64_t e = lane; e < experts; e += kWarp) total += static_cast<double>(p[e]);
    return warp_sum(total) + kTiny;
}

template <typename T>
__device__ double log_sum_exp(const T* x, int64_t experts, int lane) {
    T top = -std::numeric_limits<T>::infinity(), sum = 0;
    for (int64_t e = lane; e < experts; e += kWarp) top = x[e] > top ? x[e] : top;
    top = warp_max(top);
    for (int64_t e = lane; e < experts; e += kWarp) sum += std::exp(x[e] - top);
    return static_cast<double>(top) + std::log(static_cast<double>(warp_sum(sum)));
}

__global__ void sum_kernel(int64_t count, const double* terms, double* sum) {
    double mine = 0;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) mine += terms[i];
    mine = block_sum(mine);
    if (threadIdx.x == 0) *sum = mine;
}

/// sum = the sum of all terms, in an order that only their number determines.
void add_up(const Tensor& terms, const Tensor& sum) {
    launch(sum_kernel, 1, 1024, 0, sum, terms.numel(), terms.data<double>(), sum.data<double>());
}

template <typename T>
void weigh_probabilities(const Tensor& probabilities, const Tensor& coefficients, const TokenRows& rows,
                         const Tensor& terms) {
    const T* scores = probabilities.data<T>();
    const int64_t experts = probabilities.dim(1), stride = probabilities.row_stride();
    const double* coefficient = coefficients.data<double>();
    double* out = terms.data<double>();
    for_each_row(terms, terms.numel(), [=] __device__(int64_t t, int lane) {
        const T* p = scores + t * stride;
        const double* c = coefficient + rows.row_of(t) * experts;
        double sum = 0;
        for (int64_t e = lane; e < experts; e += kWarp) sum += c[e] * static_cast<double>(p[e]);
        sum = warp_sum(sum) / total_score(p, experts, lane);
        if (lane == 0) out[t] = sum;
    });
}

template <typename T>
void weigh_probabilities_backward(const Tensor& scale, const Tensor& probabilities,
                                  const Tensor& coefficients, const TokenRows& rows,
                                  const Tensor& dprobabilities) {
    const T* scores = probabilities.data<T>();
    T* out = dprobabilities.data<T>();
    const int64_t experts = probabilities.dim(1), stride = probabilities.row_stride();
    const double *coefficient = coefficients.data<double>(), *factor = scale.data<double>();
    for_each_row(dprobabilities, probabilities.dim(0), [=] __device__(int64_t t, int lane) {
        const T* p = scores + t * stride;
        const double* c = coefficient + rows.row_of(t) * experts;
        const double total = total_score(p, experts, lane);
        double mean = 0;
        for (int64_t e = lane; e < experts; e += kWarp) mean += c[e] * static_cast<double>(p[e]) / total;
        mean = warp_sum(mean);
        for (int64_t e = lane; e < experts; e += kWarp)
            out[t * experts + e] = static_cast<T>(*factor * (c[e] - mean) / total);
    });
}

template <typename T>
void square_log_sum_exp(const Tensor& logits, const Tensor& terms) {
    const T* x = logits.data<T>();
    const int64_t experts = logits.dim(1), stride = logits.row_stride();
    double* out = terms.data<double>();
    for_each_row(terms, terms.numel(), [=] __device__(int64_t t, int lane) {
        const double lse = log_sum_exp(x + t * stride, experts, lane);
        if (lane == 0) out[t] = lse * lse;
    });
}

template <typename T>
void square_log_sum_exp_backward(const Tensor& scale, const Tensor& logits, const Tensor& dlogits) {
    const T* x = logits.data<T>();
    const int64_t experts = logits.dim(1), stride = logits.row_stride();
    const double* factor = scale.data<double>();
    T* out = dlogits.data<T>();
    for_each_row(dlogits, logits.dim(0), [=] __device__(int64_t t, int lane) {
        const double lse = log_sum_exp(x + t * stride, experts, lane);
        for (int64_t e = lane; e < experts; e += kWarp)
            out[t * experts + e] =
                std::exp(x[t * stride + e] - static_cast<T>(lse)) * static_cast<T>(2 * *factor * lse);
    });
}

template <typename T>
__global__ void bias_kernel(int64_t experts, const int64_t* counts, double rate, T* bias) {
    int64_t total = 0;
    for (int64_t e = threadIdx.x; e < experts; e += blockDim.x) total += counts[e];
    total = block_sum(total);
    for (int64_t e = threadIdx.x; e < experts; e += blockDim.x) {
        const int64_t scaled = experts * counts[e]; // compares with the total as the count with the mean
        bias[e] += static_cast<T>(rate * ((scaled < total) - (scaled > total)));
    }
}

} // namespace

int64_t route(const Tensor& logits, const Tensor& bias, const RoutingOptions& options, const Tensor& given,
              const Tensor& expert, const Tensor& weight, const Tensor& probabilities) {
    const Tensor counts = given.defined() ? Tensor::zeros(expert.allocator(), {2}, DType::i64) : Tensor();
    Tensor group_scores;
    if (options.num_groups > 1)
        group_scores = Tensor::empty(expert.allocator(), {logits.dim(0), options.num_groups}, DType::f64);
    dispatch_float(logits.dtype(), [&]<typename T>() {
        RouteTokens<T> tokens{.logits = logits.data<T>(),
                              .stride = logits.row_stride(),
                              .experts = logits.dim(1),
                              .k = options.k,
                              .options = options,
                              .group_scores = group_scores.defined() ? group_scores.data<double>() : nullptr,
                              .expert = expert.data<int32_t>(),
                              .weight = weight.data<T>(),
                              .probabilities = probabilities.data<T>()};
        if (bias.defined() && bias.dtype() == DType::f64)
            tokens.bias64 = bias.data<double>();
        else if (bias.defined())
            tokens.bias32 = bias.data<float>();
        if (given.defined()) {
            tokens.given = given.data<int32_t>();
            tokens.counts = reinterpret_cast<unsigned long long*>(counts.data<int64_t>());
        }
        for_each_row(expert, logits.dim(0), tokens);
    });
    if (!given.defined()) return 0;
    Allocator host;
    const Tensor found = to_device(host, counts);
    const int64_t num_flips = found.data<int64_t>()[0], num_unknown = found.data<int64_t>()[1];
    check(num_unknown == 0, "route: {} of the given experts are not among the {}", num_unknown,
          logits.dim(1));
    return num_flips;
}

void route_backward(const Tensor& dweight, const Tensor& dprobabilities, const Tensor& expert,
                    const Tensor& probabilities, const RoutingOptions& options, const Tensor& dlogits) {
    dispatch_float(dlogits.dtype(), [&]<typename T>() {
        for_each_row(
            dlogits, dlogits.dim(0),
            RouteBackward<T>{.dweight = dweight.defined() ? dweight.data<T>() : nullptr,
                             .dprobabilities = dprobabilities.defined() ? dprobabilities.data<T>() : nullptr,
                             .expert = expert.data<int32_t>(),
                             .probabilities = probabilities.data<T>(),
                             .experts = probabilities.dim(1),
                             .options = options,
                             .dlogits = dlogits.data<T>()});
    });
}

void balance_coefficients(const Tensor& counts, int64_t k, int64_t length, const Tensor& coefficients) {
    const int64_t* count = counts.data<int64_t>();
    double* out = coefficients.data<double>();
    const auto experts = static_cast<double>(counts.dim(1)), size = static_cast<double>(length),
               choices = static_cast<double>(k);
    for_each(coefficients, counts.numel(), [=] __device__(int64_t i) {
        out[i] = experts * static_cast<double>(count[i]) / (choices * size) / size;
    });
}

void weighted_probabilities(const Tensor& probabilities, const Tensor& coefficients, const TokenRows& rows,
                            const Tensor& sum) {
    const Tensor terms = Tensor::empty(sum.allocator(), {probabilities.dim(0)}, DType::f64);
    dispatch_float(probabilities.dtype(),
                   [&]<typename T>() { weigh_probabilities<T>(probabilities, coefficients, rows, terms); });
    add_up(terms, sum);
}

void weighted_probabilities_backward(const Tensor& factor, const Tensor& probabilities,
                                     const Tensor& coefficients, const TokenRows& rows,
                                     const Tensor& dprobabilities) {
    dispatch_float(probabilities.dtype(), [&]<typename T>() {
        weigh_probabilities_backward<T>(factor, probabilities, coefficients, rows, dprobabilities);
    });
}

void router_z_loss(const Tensor& logits, const Tensor& sum) {
    const Tensor terms = Tensor::empty(sum.allocator(), {logits.dim(0)}, DType::f64);
    dispatch_float(logits.dtype(), [&]<typename T>() { square_log_sum_exp<T>(logits, terms); });
    add_up(terms, sum);
}

void router_z_loss_backward(const Tensor& factor, const Tensor& logits, const Tensor& dlogits) {
    dispatch_float(logits.dtype(),
                   [&]<typename T>() { square_log_sum_exp_backward<T>(factor, logits, dlogits); });
}

void count_experts(const Tensor& expert, const TokenRows& rows, const Tensor& counts) {
    const int32_t* choice = expert.data<int32_t>();
    auto* count = reinterpret_cast<unsigned long long*>(counts.data<int64_t>());
    const int64_t k = expert.dim(1), experts = counts.dim(1);
    for_each(counts, expert.numel(), [=] __device__(int64_t i) {
        atomicAdd(count + rows.row_of(i / k) * experts + choice[i],
                  1ull); // of integers: the same in any order
    });
}

void update_router_bias(const Tensor& bias, const Tensor& counts, double rate) {
    dispatch_float(bias.dtype(), [&]<typename T>() {
        launch(bias_kernel<T>, 1, kThreads, 0, bias, bias.numel(), counts.data<int64_t>(), rate,
               bias.data<T>());
    });
}

} // namespace braid::ops::cuda
