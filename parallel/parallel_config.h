#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/enum_names.h"

namespace braid {

/// How float sums over ranks are made: `ordered` moves the pieces and adds them in rank order, `library`
/// leaves it to MPI.
enum class Reduction { ordered, library };
constexpr auto enum_names(Reduction) {
    return std::array<std::string_view, 2>{"ordered", "library"};
}

struct ParallelConfig {
    int64_t data = 0; // data ranks; 0 (written auto): what the number of processes gives
    Reduction reduction = Reduction::ordered;
    int64_t watchdog_seconds = 600; // a rank that waits longer for others ends the job; 0: never
    bool operator==(const ParallelConfig&) const = default;
};

} // namespace braid
