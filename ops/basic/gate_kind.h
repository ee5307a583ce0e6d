#pragma once

#include <cstdint>

namespace braid::ops {

/// What a gate's value goes through before it multiplies: silu(g) = g sigmoid(g), or sigmoid(g).
enum class GateKind : uint8_t { silu, sigmoid };

} // namespace braid::ops
