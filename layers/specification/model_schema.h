#pragma once

#include "base/schema.h"
#include "base/yaml_document.h"
#include "layers/specification/model_config.h"

namespace braid {

const Schema<ModelConfig>& model_schema();
const Schema<SublayerConfig>& sublayer_schema();

/// Replaces every `like: other` below `sublayers` (the map of that name in a run file) by a copy of the other
/// sublayer under the keys beside it. Throws ConfigError for a cycle or an unknown name.
void resolve_copies(YamlNode& sublayers);

} // namespace braid
