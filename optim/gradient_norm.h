#pragma once

#include <string>

#include "tensor/parameters/parameter.h"

namespace braid {

/// The sum of squares of the gradients that this rank owns and counts: added up over all ranks, that of the
/// whole model. In double, in an order that no thread count changes.
double gradient_sum_of_squares(const ParameterStore& store);

/// What gradients are multiplied by so that their norm is at most `clip`; 1 where clip is 0 (no clipping).
double clip_factor(double norm, double clip);

/// The name of the first section whose gradient holds NaN or infinity; empty if all are finite.
std::string first_non_finite_gradient(const ParameterStore& store);

} // namespace braid
