#pragma once

#include "layers/feed_forward/moe_config.h"
#include "trainer/verify/layout_compare.h"

namespace braid::testing {

/// A small hybrid model that uses every kind of parameter and loss.
ModelConfig parity_model(AuxScope scope, bool tied);
/// Two steps of it in f64, so that router biases and expert fractions of the first take part in the second.
LayoutCase parity_case(AuxScope scope, bool tied);

/// The case on so many threads as ranks.
std::vector<LayoutStep> on_ranks(const LayoutCase& run, int ranks, const Layout& layout,
                                 const std::vector<LayoutStep>* reference = nullptr);
/// On one rank. Layouts that leave something out would agree on what never moves: all that is not frozen has
/// a gradient and an update in every step, and router biases and counts have moved.
std::vector<LayoutStep> alone(const LayoutCase& run);
/// Expects that the layout computes what the reference has.
void expect_parity(const LayoutCase& run, const std::vector<LayoutStep>& reference, int ranks,
                   const Layout& layout);

} // namespace braid::testing
