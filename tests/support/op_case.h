#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
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
    std::vector<size_t> wide_inputs = {}; // those that are f32 where the others are bf16
};

/// How far a run in bf16 may be from one in f32, in units of 2^-8, the largest relative error of one
/// rounding, of a tensor's largest element: for results in bf16, and for those in f32.
struct Bf16Bound {
    double rounded = 1; // nothing but the result itself is rounded
    double wide = 0;
    /// Where given, the units of each element of each result instead, not relative to anything.
    std::vector<std::vector<double>> elements = {};
};

/// How far sums of `terms` products of independent normal numbers, made in f32 after or before `roundings`
/// more, may be from those in f64, as relative_error counts: n rounding errors of a sum are uniform in +-u
/// times a partial sum, u = 2^-24, which is less than the sum of the terms' sizes; their own sum has a
/// standard deviation below u sqrt(n / 3) times that, and 4 u sqrt(n) is seven of them (Higham and Mary 2019,
/// "A new approach to probabilistic rounding error analysis"). The terms' sizes add up to 2/pi n, and the
/// largest of some dozens of such sums is about two standard deviations, 2 sqrt(n), so that cancellation
/// makes this sqrt(n) / pi times as much of it.
inline double random_sum_error(int64_t terms, int roundings) {
    const double root = std::sqrt(static_cast<double>(terms));
    return (4 * root + roundings) * 0x1p-24 * std::max(root / std::numbers::pi, 1.0);
}

/// Where cases run: the CPU, or with BRAID_TEST_DEVICE=cuda the first GPU, whose results are then held
/// against the CPU's. Where there is no GPU, all cases of a program that asks are skipped then.
Device test_device();

/// Outputs, input gradients and parameter gradients (in this order; undefined ones left out) of the case in
/// this precision, with random output gradients that are a function of the case's name. With `representable`,
/// inputs, parameters and output gradients are rounded to bf16 first. Runs where `t` computes; the results
/// lie on the host.
Values run_op(const OpCase& op, TestContext& t, DType precision, bool representable = false);
/// check_gradients of the case; on a GPU, that outputs and gradients in f64 are those of the CPU.
void check_op_gradients(const OpCase& op, const GradientCheckOptions& options = {});
/// Expects that outputs and gradients in f32 and f64 agree to `bound` per tensor (see relative_error).
void expect_f32_close_to_f64(const OpCase& op, double bound);
/// Expects that outputs and gradients in bf16 and in f32, from the same numbers, agree, that dtypes are those
/// of docs/precision.md, and the same bits from any number of threads; once more with oneDNN where it can
/// run. On a GPU, the same of its results, held against the CPU's in f32.
void expect_bf16_close_to_f32(const OpCase& op, const Bf16Bound& bound = {});
/// Expects the same bits from 1, 2 and 3 OpenMP threads; on a GPU, from two runs.
void expect_same_bits_for_any_threads(const OpCase& op, DType precision = DType::f32);

} // namespace braid::testing
