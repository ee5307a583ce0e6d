#pragma once

#include <cstdio>
#include <string>

#include "base/error.h"

namespace braid {

/// Writes a command's result to standard output; WriteError where that fails (a full disk, a closed pipe).
inline void print_output(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
        throw WriteError("standard output: cannot write");
}

} // namespace braid
