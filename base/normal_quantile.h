#pragma once

#include <span>

namespace braid {

/// Replaces each probability by inverse_normal_cdf of it (base/rng.h), to the same bits. Many at once are
/// made in the processor's vectors, which is how the weights of a large model are drawn within seconds.
void inverse_normal_cdf(std::span<double> p);

} // namespace braid
