#include "layers/specification/nearest_layouts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace braid {
namespace {

bool allows(const LayoutRules& rules, const RankGrid& grid) {
    try {
        rules.expect_fits(grid);
        return true;
    } catch (const ConfigError&) {
        return false;
    }
}

/// The sizes up to num_ranks that the rules allow one axis while the others are 1. What does not fit alone
/// fits with nothing, so that few layouts of all axes are left to try.
std::vector<int> sizes_alone(const LayoutRules& rules, int64_t ParallelConfig::*axis, int num_ranks) {
    std::vector<int> sizes;
    for (int size = 1; size <= num_ranks; ++size) {
        ParallelConfig alone;
        alone.*axis = size;
        if (allows(rules, make_grid(alone, size, 0))) sizes.push_back(size);
    }
    return sizes;
}

double distance(const ParallelConfig& a, const ParallelConfig& b) {
    double sum = 0;
    for (const AxisRow& row : kAxes)
        if (!row.is_rest)
            sum += std::abs(std::log(static_cast<double>(a.*row.key) / static_cast<double>(b.*row.key)));
    return sum;
}

/// All layouts whose axes take sizes from these lists.
std::vector<ParallelConfig> combinations(
    const std::vector<std::pair<int64_t ParallelConfig::*, std::vector<int>>>& choices, bool sequence) {
    std::vector<ParallelConfig> all = {ParallelConfig{.sequence = sequence}};
    for (const auto& [axis, sizes] : choices) {
        std::vector<ParallelConfig> longer;
        for (const ParallelConfig& start : all)
            for (const int size : sizes) {
                longer.push_back(start);
                longer.back().*axis = size;
            }
        all = std::move(longer);
    }
    return all;
}

bool divides(const ParallelConfig& sizes, int ranks) {
    return ranks % asked_ranks(sizes, false) == 0 && ranks % asked_ranks(sizes, true) == 0;
}

} // namespace

std::string NearestLayouts::to_text(
    const std::function<std::string(const ParallelConfig&, int num_ranks)>& write) const {
    std::string text;
    for (const ParallelConfig& layout : layouts)
        text += (text.empty() ? fmt::format("\nlayouts that would work on {} rank{}: ", num_ranks,
                                            num_ranks == 1 ? "" : "s")
                              : "; ") +
                write(layout, num_ranks);
    return text;
}

NearestLayouts nearest_layouts(const LayoutRules& rules, const LayoutCondition& condition,
                               const ParallelConfig& asked, int num_ranks) {
    std::vector<std::pair<int64_t ParallelConfig::*, std::vector<int>>> choices;
    for (const AxisRow& row : kAxes)
        if (!row.is_rest) choices.emplace_back(row.key, sizes_alone(rules, row.key, num_ranks));
    std::vector<ParallelConfig> all = combinations(choices, asked.sequence);
    // By distance; equal ones with the smaller sizes first, as they were made.
    std::stable_sort(all.begin(), all.end(), [&](const ParallelConfig& a, const ParallelConfig& b) {
        return distance(a, asked) < distance(b, asked);
    });
    for (int ranks = num_ranks; ranks > 0; --ranks) {
        NearestLayouts found{ranks, {}};
        for (const ParallelConfig& sizes : all) {
            if (found.layouts.size() == NearestLayouts::kMost) break;
            if (!divides(sizes, ranks)) continue;
            const RankGrid grid = make_grid(sizes, ranks, 0);
            if (condition(grid) && allows(rules, grid)) found.layouts.push_back(sizes);
        }
        if (!found.layouts.empty()) return found;
    }
    return {};
}

} // namespace braid
