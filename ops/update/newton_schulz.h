#pragma once

#include <vector>

#include "tensor/tensor.h"

namespace braid::ops {

/// X <- a X + (b A + c A A) X with A = X Xᵀ: every singular value s becomes p(s) = a s + b s³ + c s⁵, and the
/// singular vectors stay.
struct NewtonSchulzStep {
    double a, b, c;
};

/// Steps that take the singular values of a matrix of Frobenius norm 1 towards 1.
///   quintic         K. Jordan's (kellerjordan.github.io/posts/muon, 2024), the same in each step: steepest
///                   at 0. Five of them take [0.002, 1] into [0.68, 1.21].
///   polar_express   Amsel et al., arXiv:2505.16932, for singular values from 0.001 on: other numbers in each
///                   step. Five of them take [0.002, 1] into [0.87, 1.13], six into [0.997, 1.002].
std::vector<NewtonSchulzStep> quintic_steps(int count);
std::vector<NewtonSchulzStep> polar_express_steps(int count);

/// The most by which the composition of steps stretches differences: its derivative at 0. As an odd function
/// of singular values it does so to matrices in the Frobenius norm too.
double newton_schulz_slope(const std::vector<NewtonSchulzStep>& steps);

/// Added to the Frobenius norm that matrices are divided by, so that zero stays zero.
constexpr double kNewtonSchulzEps = 1e-7;

/// Divides each of the matrices x [n, rows, columns], f32 or f64 and packed, by its Frobenius norm (plus
/// kNewtonSchulzEps) and takes the steps, in place. Returns the norms, f64 [n], where x lies. Not
/// differentiable. Works on the shorter side; takes memory for 2 min(rows, columns)² + rows columns elements
/// per matrix under way. The bits of a matrix do not depend on the number of threads; on the CPU not on the
/// other matrices either, on a GPU only on how many there are.
Tensor newton_schulz(Allocator& allocator, const Tensor& x, const std::vector<NewtonSchulzStep>& steps);

/// The multiply-adds of `num_steps` steps on a matrix, counted as two operations each.
double newton_schulz_flops(int64_t rows, int64_t columns, int num_steps);

} // namespace braid::ops
