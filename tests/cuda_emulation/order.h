#pragma once

// The order in which blocks and threads take their turns. A kernel may rely on none.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace cuda_emulation {

/// As BRAID_EMULATION_ORDER says: ascending, reverse, or random with a seed.
class Order {
  public:
    static const Order& chosen();

    /// Makes `turns` a permutation of 0 <= i < count. What it holds from the call before is used again.
    void arrange(std::vector<size_t>& turns, size_t count) const;
    const std::string& name() const { return name_; }

  private:
    enum class Kind { ascending, reverse, random };

    Order();

    Kind kind_ = Kind::ascending;
    uint64_t seed_ = 0;
    std::string name_ = "ascending";
};

} // namespace cuda_emulation
