#pragma once

#include <string>
#include <vector>

#include "launch/output.h"

namespace braid {

/// Warnings go to standard error, as they are no part of a result.
inline void print_warnings(const std::vector<std::string>& warnings) {
    for (const std::string& warning : warnings) print_error("warning: " + warning);
}

} // namespace braid
