#pragma once

#include <array>
#include <string_view>

#include "base/enum_names.h"

namespace braid {

/// What a parameter is for; initialisation, weight decay and learning-rate groups select on it.
enum class ParameterRole { embedding, head, matrix, expert, router, norm, bias, conv, recurrent };
constexpr auto enum_names(ParameterRole) {
    return std::array<std::string_view, 9>{"embedding", "head", "matrix", "expert",   "router",
                                           "norm",      "bias", "conv",   "recurrent"};
}

/// Whether operations read parameters of this role in bf16 where that is the precision of a run. The others
/// stay in f32: they are small, and routing, norms and recurrences react to their last bits.
constexpr bool is_rounded(ParameterRole role) {
    return role == ParameterRole::embedding || role == ParameterRole::head || role == ParameterRole::matrix ||
           role == ParameterRole::expert;
}

} // namespace braid
