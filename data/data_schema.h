#pragma once

#include "base/schema.h"
#include "data/data_config.h"

namespace braid {

const Schema<DataConfig>& data_schema();

} // namespace braid
