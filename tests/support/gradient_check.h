#pragma once

#include <string>

#include "tensor/parameters/parameter.h"
#include "tests/support/testing_context.h"

namespace braid::testing {

struct GradientCheckOptions {
    /// Difference step relative to max(1, |x|). The 4-point stencil errs by about step^4 in truncation and
    /// 1e-16 / step in rounding; 3e-5 keeps both below 1e-10 for functions whose scale is not below 1e-3.
    double step = 3e-5;
    /// Bound on max |analytic - numeric| / max |analytic| per tensor.
    double bound = 1e-6;
    /// At most this many elements of each tensor are differenced (evenly spread), in sanitizers' builds a
    /// tenth; the rest is covered by one random direction through all of them.
    int64_t max_elements = 160;
};

/// Compares the gradients of sum_k <c_k, y_k>, with random c_k, against central differences: for every
/// floating input and every parameter of `store` (may be null). y = forward(ctx, inputs) must be a pure
/// function in f64. Also expects that deferring weight gradients and recomputing give bit-identical
/// gradients.
void check_gradients(const std::string& what, Context& ctx, const Segment::Forward& forward,
                     const Values& inputs, ParameterStore* store = nullptr,
                     const GradientCheckOptions& options = {});

} // namespace braid::testing
