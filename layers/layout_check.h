#pragma once

#include "layers/model_config.h"
#include "tensor/rank_grid.h"

namespace braid {

/// ConfigError naming every size of the model that the layout cannot share out, what would do, and the
/// numbers.
void expect_layout_fits(const ModelConfig& model, const RankGrid& grid);

} // namespace braid
