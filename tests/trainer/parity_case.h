#pragma once

#include "layers/feed_forward/moe_config.h"
#include "trainer/verify/layout_compare.h"

namespace braid::testing {

/// A small hybrid model that uses every kind of parameter and loss.
ModelConfig parity_model(AuxScope scope, bool tied);
/// Two steps of it in f64, so that router biases and expert fractions of the first take part in the second.
LayoutCase parity_case(AuxScope scope, bool tied);

} // namespace braid::testing
