#pragma once

namespace braid {

/// Whether this build has the CUDA backend. In a header of its own, which only files that ask include: all
/// others compile to the same in builds with and without it, and a compiler cache shares them.
constexpr bool kBuildCuda = BRAID_CUDA != 0;

} // namespace braid
