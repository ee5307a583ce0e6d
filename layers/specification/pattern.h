#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "layers/specification/model_config.h"

namespace braid {

/// One sublayer of one layer with nothing left to look up: the model's norm and init with the sublayer's own
/// changes, and the `layers:` edits of this layer, applied.
struct ResolvedSublayer {
    std::string name; // its key in model.sublayers
    SublayerConfig config;
    NormConfig norm;
    InitConfig init;
    bool operator==(const ResolvedSublayer&) const = default;
};

/// The sublayers of one layer, in the order they run; each has its own norm and residual.
struct LayerConfig {
    std::vector<ResolvedSublayer> sublayers;
    bool operator==(const LayerConfig&) const = default;
};

/// One layer as a pattern writes it: the names joined by '+'.
using LayerNames = std::vector<std::string>;

/// More layers than this are refused before they take memory.
inline constexpr int64_t kMaxLayers = 10'000;

/// Parses a pattern: layers separated by commas; `a+b` joins the sublayers of one layer; `(...)` groups; `*N`
/// repeats a layer or group N >= 0 times. "(gdn+moe)*3, attn+moe" is 4 layers; an empty text is none. Throws
/// ConfigError with the column of the fault, or when more than kMaxLayers layers would come out.
std::vector<LayerNames> parse_pattern(std::string_view text);

/// Every layer of the model: pattern_head, the pattern tiled up to num_layers, pattern_tail, then the
/// `layers:` edits. Throws ConfigError with the full key path.
std::vector<LayerConfig> expand_layers(const ModelConfig& model);

/// The names in model.sublayers that no layer uses (legal; `config show` and the start of a run report them).
std::vector<std::string> unused_sublayers(const ModelConfig& model);

} // namespace braid
