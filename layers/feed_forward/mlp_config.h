#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "layers/specification/sublayer_type.h"

namespace braid {

/// swiglu silu(gate) up; geglu gelu(gate) up; the rest have no gate: gelu(up), silu(up), relu2 max(up, 0)^2.
enum class Activation { swiglu, geglu, gelu, silu, relu2 };
constexpr auto enum_names(Activation) {
    return std::array<std::string_view, 5>{"swiglu", "geglu", "gelu", "silu", "relu2"};
}

/// Those of an MLP that may have a bias; up with the gate.
enum class MlpProjection { up, down };
constexpr auto enum_names(MlpProjection) {
    return std::array<std::string_view, 2>{"up", "down"};
}

struct MlpConfig {
    int64_t size = 0;
    Activation activation = Activation::swiglu;
    std::vector<MlpProjection> bias; // of these projections
    bool operator==(const MlpConfig&) const = default;
};

/// What others call the activations, for suggestions.
inline constexpr std::string_view kActivationSynonyms =
    "swish=silu relu=relu2 squaredrelu=relu2 relusquared=relu2 gegelu=geglu gated=swiglu";

/// type: mlp.
SublayerType mlp_type();

} // namespace braid
