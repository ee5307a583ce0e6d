#pragma once

#include "base/schema.h"
#include "optim/optimizer_config.h"

namespace braid {

const Schema<OptimizerConfig>& optimizer_schema();

} // namespace braid
