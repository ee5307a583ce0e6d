#pragma once

#include <cstdint>
#include <limits>

#include "ops/moe/routing_options.h"
#include "ops/on_device.h"
#include "tensor/tensor.h"

namespace braid::ops {

/// Which row of a table per sequence belongs to a token.
struct TokenRows {
    int64_t first_token, tokens_per_row;
    constexpr int64_t row_of(int64_t token) const { return (first_token + token) / tokens_per_row; }
};

/// Comes before no score: that of an expert which may not be chosen.
constexpr double kNoChoice = -std::numeric_limits<double>::infinity();

/// What a choice goes by. Scores that are not numbers are taken last, so that the choice stays valid until
/// somebody looks at the loss.
constexpr double choice_score(double score) {
    constexpr double kNotANumber = -std::numeric_limits<double>::max();
    return score >= kNotANumber ? score : kNotANumber;
}

/// Scores a group by the choice scores of its experts, one after the other.
class GroupScorer {
  public:
    constexpr void add(double score) {
        if (score > best_) {
            second_ = best_;
            best_ = score;
        } else if (score > second_) {
            second_ = score;
        }
    }
    constexpr double score(RoutingGroupScore kind) const {
        // Two scores that are not numbers would add up to kNoChoice.
        return choice_score(kind == RoutingGroupScore::top2_sum ? best_ + second_ : best_);
    }

  private:
    double best_ = kNoChoice, second_ = kNoChoice;
};

} // namespace braid::ops

namespace braid::ops::cpu {

/// Shapes as in ops/moe/routing.h; bias and given may be undefined. Returns the number of tokens whose own
/// choice is another set than the given one, for which it waits for a GPU, and throws InternalError for a
/// given expert that does not exist; without given experts 0, and it does not wait.
int64_t route(const Tensor& logits, const Tensor& bias, const RoutingOptions& options, const Tensor& given,
              const Tensor& expert, const Tensor& weight, const Tensor& probabilities);
/// dlogits from dweight and dprobabilities, either of which may be undefined.
void route_backward(const Tensor& dweight, const Tensor& dprobabilities, const Tensor& expert,
                    const Tensor& probabilities, const RoutingOptions& options, const Tensor& dlogits);

/// coefficients f64 [rows, E] = E count / (k length) / length, of counts i64 in sequences of `length` tokens.
void balance_coefficients(const Tensor& counts, int64_t k, int64_t length, const Tensor& coefficients);

/// sum f64 [1] = sum_t sum_e c[row of t, e] p_te / (sum_e p_te + 1e-20); coefficients c f64 [rows, E].
void weighted_probabilities(const Tensor& probabilities, const Tensor& coefficients, const TokenRows& rows,
                            const Tensor& sum);
/// dp = factor, f64 [1], times its gradient.
void weighted_probabilities_backward(const Tensor& factor, const Tensor& probabilities,
                                     const Tensor& coefficients, const TokenRows& rows,
                                     const Tensor& dprobabilities);

/// sum f64 [1] = sum_t lse(logits_t)².
void router_z_loss(const Tensor& logits, const Tensor& sum);
/// dlogits = factor, f64 [1], times its gradient.
void router_z_loss_backward(const Tensor& factor, const Tensor& logits, const Tensor& dlogits);

/// Adds to counts i64 [rows, E] the choices of each row's tokens.
void count_experts(const Tensor& expert, const TokenRows& rows, const Tensor& counts);
void update_router_bias(const Tensor& bias, const Tensor& counts, double rate);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(route)
BRAID_KERNEL(route_backward)
BRAID_KERNEL(balance_coefficients)
BRAID_KERNEL(weighted_probabilities)
BRAID_KERNEL(weighted_probabilities_backward)
BRAID_KERNEL(router_z_loss)
BRAID_KERNEL(router_z_loss_backward)
BRAID_KERNEL(count_experts)
BRAID_KERNEL(update_router_bias)

} // namespace braid::ops
