#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/enum_names.h"

namespace braid {

/// How documents become sequences: `documents` joins them end to end, and nothing (attention, convolution,
/// state, labels) crosses a border.
enum class Packing { documents };
constexpr auto enum_names(Packing) {
    return std::array<std::string_view, 1>{"documents"};
}

struct DataSource {
    std::string path;  // a token file, relative to the working directory
    double weight = 1; // its share of the samples, relative to the other sources
    bool operator==(const DataSource&) const = default;
};

struct ValidationSet {
    std::string path;
    bool operator==(const ValidationSet&) const = default;
};

/// Steps, the first and the last of them, both from 1.
using StepRange = std::array<int64_t, 2>;

struct DataConfig {
    std::vector<DataSource> train;
    std::map<std::string, ValidationSet> validation; // by the name that metrics carry: eval/NAME/loss
    Packing packing = Packing::documents;
    // The batches that these steps would take are left out, and what follows them moves up. Each range counts
    // steps as a run does that has the ranges before it.
    std::vector<StepRange> skip;
    uint64_t seed = 0; // a file that leaves it out means the run's seed
    bool operator==(const DataConfig&) const = default;
};

} // namespace braid
