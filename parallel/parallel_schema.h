#pragma once

#include "base/schema.h"
#include "parallel/parallel_config.h"

namespace braid {

const Schema<ParallelConfig>& parallel_schema();

} // namespace braid
