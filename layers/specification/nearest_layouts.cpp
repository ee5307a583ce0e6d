#include "layers/specification/nearest_layouts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

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
std::vector<int> sizes_alone(const LayoutRules& rules, int MeshSizes::*axis, int num_ranks) {
    std::vector<int> sizes;
    for (int size = 1; size <= num_ranks; ++size) {
        MeshSizes alone;
        alone.*axis = size;
        if (allows(rules, make_grid(alone, size, 0))) sizes.push_back(size);
    }
    return sizes;
}

double distance(const MeshSizes& a, const MeshSizes& b) {
    double sum = 0;
    for (const auto axis : {&MeshSizes::tensor, &MeshSizes::expert, &MeshSizes::expert_tensor})
        sum += std::abs(std::log(static_cast<double>(a.*axis) / static_cast<double>(b.*axis)));
    return sum;
}

} // namespace

std::string NearestLayouts::to_text(
    const std::function<std::string(const MeshSizes&, int num_ranks)>& write) const {
    std::string text;
    for (const MeshSizes& layout : sizes)
        text += (text.empty() ? fmt::format("\nlayouts that would work on {} rank{}: ", num_ranks,
                                            num_ranks == 1 ? "" : "s")
                              : "; ") +
                write(layout, num_ranks);
    return text;
}

NearestLayouts nearest_layouts(const LayoutRules& rules, const LayoutCondition& condition,
                               const MeshSizes& asked, int num_ranks) {
    const auto tensor = sizes_alone(rules, &MeshSizes::tensor, num_ranks);
    const auto expert = sizes_alone(rules, &MeshSizes::expert, num_ranks);
    const auto expert_tensor = sizes_alone(rules, &MeshSizes::expert_tensor, num_ranks);
    for (int ranks = num_ranks; ranks > 0; --ranks) {
        std::vector<std::tuple<double, int, int, int>> candidates; // by distance, then the smaller sizes
        for (const int t : tensor)
            for (const int e : expert)
                for (const int x : expert_tensor)
                    if (ranks % t == 0 && ranks % e == 0 && ranks / e % x == 0)
                        candidates.emplace_back(distance({t, e, x}, asked), t, e, x);
        std::sort(candidates.begin(), candidates.end());
        NearestLayouts found{ranks, {}};
        for (const auto& [unused, t, e, x] : candidates) {
            const MeshSizes sizes{t, e, x, asked.sequence};
            const RankGrid grid = make_grid(sizes, ranks, 0);
            if (found.sizes.size() < NearestLayouts::kMost && condition(grid) && allows(rules, grid))
                found.sizes.push_back(sizes);
        }
        if (!found.sizes.empty()) return found;
    }
    return {};
}

} // namespace braid
