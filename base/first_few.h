#pragma once

#include <string>
#include <vector>

namespace braid {

/// The first names of a list for a message, and how many more there are: "a, b, c, d, e and 12 more".
std::string first_few(const std::vector<std::string>& names);

} // namespace braid
