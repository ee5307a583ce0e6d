#pragma once

#include <memory>

#include "layers/sublayer/layer.h"

namespace braid {

/// Makes the sublayer that the builder's config describes and declares its parameters.
std::unique_ptr<Sublayer> make_sublayer(const LayerBuilder& build);

} // namespace braid
