#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace braid {

/// The first two words of philox({index, index >> 32, 0, last_word}, key), the first above the second, for
/// `count` indices from `first` on; in the processor's vectors.
void philox_block(uint64_t first, uint32_t last_word, std::array<uint32_t, 2> key, uint64_t* out,
                  size_t count);

} // namespace braid
