#pragma once

#include <build_switches.h>

namespace braid {

/// Whether this build has the CUDA backend. Only files that ask include this (cmake/build_switches.h.in).
constexpr bool kBuildCuda = BRAID_CUDA != 0;

} // namespace braid
