#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/any_struct.h"
#include "base/enum_names.h"

namespace braid {

// The model part of a run file, after reading and checking. docs/config.md explains each key; a name here is
// the name of the key. Sizes are counts of elements and positive unless said otherwise.

enum class NormType { rms, layer };
constexpr auto enum_names(NormType) {
    return std::array<std::string_view, 2>{"rms", "layer"};
}

/// Where the norms N of a sublayer F sit: pre x + F(N(x)); post x + N(F(x)); sandwich x + N2(F(N1(x)));
/// residual_post N(x + F(x)); none x + F(x).
enum class NormPlacement { pre, post, sandwich, residual_post, none };
constexpr auto enum_names(NormPlacement) {
    return std::array<std::string_view, 5>{"pre", "post", "sandwich", "residual_post", "none"};
}

struct NormConfig {
    NormType type = NormType::rms;
    NormPlacement placement = NormPlacement::pre;
    bool zero_centered = false; // the weight is stored as w and applied as 1 + w
    double eps = 1e-6;
    bool embedding = false; // a norm after the embedding; model level only
    bool final = true;      // a norm before the head; model level only
    bool operator==(const NormConfig&) const = default;
};

enum class InitDistribution { normal, truncated_normal };
constexpr auto enum_names(InitDistribution) {
    return std::array<std::string_view, 2>{"normal", "truncated_normal"};
}

/// The standard deviation of a sublayer's output projection: that of the others, that divided by
/// sqrt(2 num_layers), or 0.
enum class InitOutput { same, depth_scaled, zero };
constexpr auto enum_names(InitOutput) {
    return std::array<std::string_view, 3>{"same", "depth_scaled", "zero"};
}

struct InitConfig {
    double std = 0.02;
    InitDistribution distribution = InitDistribution::truncated_normal;
    InitOutput output = InitOutput::depth_scaled;
    bool operator==(const InitConfig&) const = default;
};

/// x' = stream_scale * x + branch_scale * branch.
struct ResidualConfig {
    double stream_scale = 1;
    double branch_scale = 1;
    bool operator==(const ResidualConfig&) const = default;
};

/// logits = softcap * tanh(scale * (W x) / softcap), or scale * (W x) with softcap 0. z_loss weighs the mean
/// of logsumexp(logits)^2.
struct HeadConfig {
    double z_loss = 0;
    double softcap = 0;
    double scale = 1;
    bool operator==(const HeadConfig&) const = default;
};

/// What a sublayer changes of model.norm and model.init.
struct NormOverride {
    std::optional<NormType> type;
    std::optional<NormPlacement> placement;
    std::optional<bool> zero_centered;
    std::optional<double> eps;
    bool operator==(const NormOverride&) const = default;
};
/// How the time steps of a recurrence start.
enum class DecayInit {
    constant_dt,    // dt_bias is 1, so that dt is near 1.3
    log_uniform_dt, // the logarithm of dt is uniform from ln 0.001 to ln 0.1
};
constexpr auto enum_names(DecayInit) {
    return std::array<std::string_view, 2>{"constant_dt", "log_uniform_dt"};
}
struct InitOverride {
    std::optional<double> std;
    std::optional<InitDistribution> distribution;
    std::optional<InitOutput> output;
    // Of recurrences that decay; left out, each type has starts of its own.
    std::optional<DecayInit> decay;
    std::optional<std::array<double, 2>> a_range; // A starts uniform between these
    bool operator==(const InitOverride&) const = default;
};

struct SublayerConfig {
    AnyStruct kind; // the config struct of its type: layers/specification/sublayer_type.h
    NormOverride norm;
    InitOverride init;

    bool operator==(const SublayerConfig&) const = default;
};

/// A change of single layers. `at` lists layers from 0, as "0-2" or "43,44".
struct LayerEdit {
    std::string at;
    std::map<std::string, std::string> replace; // sublayer name -> the name that takes its place
    std::map<std::string, std::string> set;     // "moe.router.scale" -> its value as YAML text
    bool operator==(const LayerEdit&) const = default;
};

enum class PartialTile { refuse, truncate };
constexpr auto enum_names(PartialTile) {
    return std::array<std::string_view, 2>{"refuse", "truncate"};
}

struct ModelConfig {
    int64_t vocab_size = 0;
    int64_t hidden_size = 0;
    int64_t num_layers = 0; // head, tiled part and tail together; 0: what the pattern gives
    std::string pattern;    // layers/specification/pattern.h has the grammar
    std::string pattern_head;
    std::string pattern_tail;
    PartialTile partial_tile = PartialTile::refuse;
    bool tie_embeddings = false;
    NormConfig norm;
    InitConfig init;
    ResidualConfig residual;
    HeadConfig head;
    std::map<std::string, SublayerConfig> sublayers;
    std::vector<LayerEdit> layers;
    bool operator==(const ModelConfig&) const = default;
};

} // namespace braid
