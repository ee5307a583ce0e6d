#pragma once

#include <span>

namespace braid {

/// The inverse of the standard normal distribution function, for p in (0, 1) and not subnormal; relative
/// error below 1e-14. The same bits on every processor, as all initial weights come from here: sums,
/// products, quotients and roots in f64 and nothing of the mathematical library, whose logarithm differs
/// between processors and versions.
double inverse_normal_cdf(double p);

/// Replaces each probability by its inverse_normal_cdf, to the same bits. Many at once are made in the
/// processor's vectors, which is how the weights of a large model are drawn within seconds.
void inverse_normal_cdf(std::span<double> p);

} // namespace braid
