#include "layers/specification/layout_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "parallel/axes.h"

namespace braid {
namespace {

/// "" where the count can be shared out over the ranks of its axis.
std::string fault_of(const std::string& sublayer, const SharedCount& shared, const RankGrid& grid) {
    const int64_t count = shared.count, size = grid[shared.axis].size;
    const std::string_view axis = row_of(shared.axis).name;
    const bool of_model = shared.key.starts_with("model.");
    const std::string key =
        of_model ? shared.key : fmt::format("model.sublayers.{}.{}", sublayer, shared.key);
    if (shared.repeats && count < size) {
        if (size % count == 0) return "";
        return fmt::format(
            "{}: {} heads cannot be repeated evenly over parallel.{}: {}; {} may be a divisor or "
            "a multiple of {}",
            key, count, axis, size, axis, count);
    }
    if (count % size == 0) return "";
    std::string sizes;
    for (int64_t s = 1; s <= std::min<int64_t>(count, 1024); ++s)
        if (count % s == 0) sizes += (sizes.empty() ? "" : ", ") + std::to_string(s);
    return fmt::format("{}: {} cannot be shared out over parallel.{}: {}; {} may be {}", key, count, axis,
                       size, axis, sizes);
}

} // namespace

LayoutRules::LayoutRules(const ModelConfig& model) : vocab_size_(model.vocab_size) {
    for (const LayerConfig& layer : expand_layers(model))
        for (const ResolvedSublayer& sublayer : layer.sublayers) {
            const auto same = [&](const Rules& rules) { return rules.sublayer == sublayer; };
            if (std::any_of(sublayers_.begin(), sublayers_.end(), same)) continue;
            sublayers_.push_back({sublayer, declare_alone(sublayer, model)});
            has_experts_ |= sublayers_.back().declared.has_experts;
        }
}

void LayoutRules::expect_fits(const RankGrid& grid) const {
    if (const std::vector<std::string> found = faults(grid); !found.empty())
        throw ConfigError("{}", fmt::join(found, "\n"));
}

std::vector<std::string> LayoutRules::faults(const RankGrid& grid) const {
    std::vector<std::string> lines;
    const auto add_once = [&](const std::string& text) {
        if (!text.empty() && std::find(lines.begin(), lines.end(), text) == lines.end())
            lines.push_back(text);
    };
    for (const auto& [sublayer, declared] : sublayers_) {
        for (const SharedCount& shared : declared.shared) add_once(fault_of(sublayer.name, shared, grid));
        const auto& refusal = type_of(sublayer.config).refusal;
        if (const std::string text = refusal ? refusal(sublayer, grid) : ""; !text.empty())
            add_once(fmt::format("model.sublayers.{}.{}", sublayer.name, text));
    }
    if (!has_experts_ && grid.expert.size * grid.expert_tensor.size > 1)
        add_once(
            fmt::format("parallel.expert: {} and expert_tensor: {} share out experts, and no layer has "
                        "a moe sublayer",
                        grid.expert.size, grid.expert_tensor.size));
    if (vocab_size_ < grid.tensor.size)
        add_once(fmt::format("model.vocab_size: {} words cannot be shared out over parallel.tensor: {}",
                             vocab_size_, grid.tensor.size));
    return lines;
}

} // namespace braid
