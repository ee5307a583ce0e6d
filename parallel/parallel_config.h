#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/enum_names.h"

namespace braid {

/// How float sums over ranks are made: `ordered` moves the parts and adds them in rank order, `library`
/// leaves it to MPI.
enum class Reduction { ordered, library };
constexpr auto enum_names(Reduction) {
    return std::array<std::string_view, 2>{"ordered", "library"};
}

/// How ranks share out the work, as a user asks for it.
struct ParallelConfig {
    int64_t data = 0;          // data ranks; 0 (written auto): what the number of processes gives
    int64_t tensor = 1;        // ranks that share out heads, features and words
    int64_t expert = 1;        // ranks that share out the experts
    int64_t expert_tensor = 1; // ranks that share out each expert
    bool sequence = true;      // tensor ranks share out the tokens between sublayers too
    int64_t zero = 1; // 1: the optimizer's state is shared out over the ranks that hold the same parameters
    Reduction reduction = Reduction::ordered;
    int64_t watchdog_seconds = 600; // a rank that waits longer for others ends the job; 0: never
    bool operator==(const ParallelConfig&) const = default;
};

} // namespace braid
