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

} // namespace braid
