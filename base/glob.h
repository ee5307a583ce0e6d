#pragma once

#include <string_view>

namespace braid {

/// Whether a name matches a glob of * (any text) and ? (any one character).
bool matches_glob(std::string_view glob, std::string_view name);

} // namespace braid
