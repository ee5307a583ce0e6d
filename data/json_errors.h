#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace braid {

/// What nlohmann's reader says is wrong, without its own idea of the place: "[json.exception.parse_error.101]
/// parse error at line 1, column 9: the reason" counts within the text, and would be taken for a second line
/// number where that is a line of a file.
inline std::string json_problem(size_t position, std::string_view what) {
    const size_t place = what.find(": ");
    return fmt::format("not valid JSON at byte {}: {}", position,
                       what.substr(place == std::string_view::npos ? 0 : place + 2));
}

} // namespace braid
