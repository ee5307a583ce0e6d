#pragma once

#include <functional>
#include <string>
#include <vector>

#include "layers/specification/layout_check.h"
#include "parallel/mesh.h"

namespace braid {

/// Layouts of some ranks, the one nearest to what was asked for first.
struct NearestLayouts {
    int num_ranks = 0;
    std::vector<ParallelConfig> layouts; // at most kMost; empty where nothing was found

    static constexpr size_t kMost = 5;

    /// "\nlayouts that would work on 6 ranks: A; B", each as `write` writes it; "" where nothing was found.
    std::string to_text(const std::function<std::string(const ParallelConfig&, int num_ranks)>& write) const;
};

/// What a caller asks of a layout beyond the model's rules.
using LayoutCondition = std::function<bool(const RankGrid&)>;

/// The layouts nearest to `asked` that the rules and the condition allow on num_ranks ranks, or, where they
/// allow none, on the most ranks below that they allow one on. Near is what has a small sum over the axes of
/// |log(size / asked size)|.
NearestLayouts nearest_layouts(const LayoutRules& rules, const LayoutCondition& condition,
                               const ParallelConfig& asked, int num_ranks);

} // namespace braid
