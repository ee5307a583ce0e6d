#pragma once

#include <memory>

#include "layers/sublayer/layer.h"

namespace braid {

/// Makes the sublayer that the builder's config describes and declares its parameters. num_moe counts the MoE
/// layers made so far and grows with each.
std::unique_ptr<Sublayer> make_sublayer(const LayerBuilder& build, int position, int& num_moe);

} // namespace braid
