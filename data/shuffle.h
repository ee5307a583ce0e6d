#pragma once

#include <cstdint>
#include <string_view>

#include "base/rng.h"

namespace braid {

/// A keyed permutation of 0 .. size - 1 that maps single indices, without a table: a balanced Feistel network
/// (Luby & Rackoff 1988) with Philox as its round function on the smallest even number of bits that holds the
/// size, walked until it lands inside (Black & Rogaway 2002, "cycle walking").
class Permutation {
  public:
    Permutation(int64_t size, uint64_t seed, std::string_view name);

    /// The place `index` (0 <= index < size) goes to.
    int64_t operator()(int64_t index) const;

  private:
    int64_t size_;
    int half_bits_;
    RngStream round_;
};

} // namespace braid
