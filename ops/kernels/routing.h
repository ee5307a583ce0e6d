#pragma once

#include <cstdint>

#include "ops/routing_options.h"
#include "tensor/tensor.h"

namespace braid::ops::cpu {

/// Shapes as in ops/routing.h; bias may be undefined.
void route(const Tensor& logits, const Tensor& bias, const RoutingOptions& options, const Tensor& expert,
           const Tensor& weight, const Tensor& probabilities);
/// dlogits from dweight and dprobabilities, either of which may be undefined.
void route_backward(const Tensor& dweight, const Tensor& dprobabilities, const Tensor& expert,
                    const Tensor& probabilities, const RoutingOptions& options, const Tensor& dlogits);

/// Returns sum_t sum_e c[t / tokens_per_row, e] p_te / (sum_e p_te + 1e-20); coefficients c f64 [rows, E].
double weighted_probabilities(const Tensor& probabilities, const Tensor& coefficients,
                              int64_t tokens_per_row);
/// dp = factor times its gradient.
void weighted_probabilities_backward(double factor, const Tensor& probabilities, const Tensor& coefficients,
                                     int64_t tokens_per_row, const Tensor& dprobabilities);

/// Returns sum_t lse(logits_t)².
double router_z_loss(const Tensor& logits);
/// dlogits = factor times its gradient.
void router_z_loss_backward(double factor, const Tensor& logits, const Tensor& dlogits);

/// Adds to counts i64 [rows, E] the choices of each tokens_per_row tokens.
void count_experts(const Tensor& expert, int64_t tokens_per_row, const Tensor& counts);
void update_router_bias(const Tensor& bias, const Tensor& counts, double rate);

} // namespace braid::ops::cpu
