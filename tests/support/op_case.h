#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/support/gradient_check.h"

namespace braid::testing {

/// A parameter of an operation under test, standard normal times `scale` plus `shift`.
struct OpParameter {
    Shape shape;
    double scale = 1, shift = 0;
};

/// An operation with its parameters and inputs, to be run in several ways.
struct OpCase {
    using Weights = std::vector<const Parameter*>;
    std::string name;
    std::vector<OpParameter> parameters;
    Values inputs; // f64 or integer, packed
    std::function<Values(Context&, const Values&, const Weights&)> forward;
};

/// Where cases run: the CPU, or with BRAID_TEST_DEVICE=cuda the first GPU, whose results are then held
/// against the CPU's.
Device test_device();

/// Outputs, input gradients and parameter gradients (in this order; undefined ones left out) of the case in
/// f32 or f64, with random output gradients that are a function of the case's name. Runs where `t` computes;
/// the results lie on the host.
Values run_op(const OpCase& op, TestContext& t, DType dtype);
/// check_gradients of the case; on a GPU, that outputs and gradients in f64 are those of the CPU.
void check_op_gradients(const OpCase& op, const GradientCheckOptions& options = {});
/// Expects that outputs and gradients in f32 and f64 agree to `bound` per tensor (see relative_error).
void expect_f32_close_to_f64(const OpCase& op, double bound);
/// Expects the same bits from 1, 2 and 3 OpenMP threads, in f32; on a GPU, from two runs.
void expect_same_bits_for_any_threads(const OpCase& op);

} // namespace braid::testing
