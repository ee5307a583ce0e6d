#include "layers/specification/layout_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "layers/specification/pattern.h"

namespace braid {
namespace {

/// Collects what does not fit, with the sizes of the axis that would.
class Faults {
  public:
    explicit Faults(std::string sublayer) : prefix_("model.sublayers." + sublayer + ".") {}

    void expect_divides(const char* key, int64_t count, const char* axis, int64_t size) {
        if (count % size == 0) return;
        std::string sizes;
        for (int64_t s = 1; s <= std::min<int64_t>(count, 1024); ++s)
            if (count % s == 0) sizes += (sizes.empty() ? "" : ", ") + std::to_string(s);
        add(fmt::format("{}{}: {} cannot be shared out over parallel.{}: {}; {} may be {}", prefix_, key,
                        count, axis, size, axis, sizes));
    }
    /// Fewer heads than ranks are replicated.
    void expect_divides_or_repeats(const char* key, int64_t count, const char* axis, int64_t size) {
        if (count >= size) return expect_divides(key, count, axis, size);
        if (size % count == 0) return;
        add(fmt::format(
            "{}{}: {} heads cannot be repeated evenly over parallel.{}: {}; {} may be a divisor or "
            "a multiple of {}",
            prefix_, key, count, axis, size, axis, count));
    }
    void add(std::string text) { texts_.push_back(std::move(text)); }

    void operator()(const AttentionConfig& c, const RankGrid& grid) {
        expect_divides("num_heads", c.num_heads, "tensor", grid.tensor.size);
        expect_divides_or_repeats("num_kv_heads", c.num_kv_heads, "tensor", grid.tensor.size);
    }
    void operator()(const GatedDeltaNetConfig& c, const RankGrid& grid) {
        expect_divides("num_key_heads", c.num_key_heads, "tensor", grid.tensor.size);
        expect_divides("num_value_heads", c.num_value_heads, "tensor", grid.tensor.size);
    }
    void operator()(const MlpConfig& c, const RankGrid& grid) {
        expect_divides("size", c.size, "tensor", grid.tensor.size);
    }
    void operator()(const MoeConfig& c, const RankGrid& grid) {
        expect_divides("num_experts", c.num_experts, "expert", grid.expert.size);
        expect_divides("expert_size", c.expert_size, "expert_tensor", grid.expert_tensor.size);
    }
    const std::vector<std::string>& texts() const { return texts_; }

  private:
    std::string prefix_;
    std::vector<std::string> texts_;
};

} // namespace

LayoutRules::LayoutRules(const ModelConfig& model) : vocab_size_(model.vocab_size) {
    for (const LayerConfig& layer : expand_layers(model))
        for (const ResolvedSublayer& sublayer : layer.sublayers) {
            has_experts_ |= std::holds_alternative<MoeConfig>(sublayer.config.kind);
            if (std::find(sublayers_.begin(), sublayers_.end(), sublayer) == sublayers_.end())
                sublayers_.push_back(sublayer);
        }
}

void LayoutRules::expect_fits(const RankGrid& grid) const {
    if (const std::vector<std::string> found = faults(grid); !found.empty())
        throw ConfigError("{}", fmt::join(found, "\n"));
}

std::vector<std::string> LayoutRules::faults(const RankGrid& grid) const {
    std::vector<std::string> lines;
    const auto add = [&](const std::string& text) { lines.push_back(text); };
    std::set<std::string> checked;
    for (const ResolvedSublayer& sublayer : sublayers_) {
        Faults faults(sublayer.name);
        std::visit([&](const auto& config) { faults(config, grid); }, sublayer.config.kind);
        const auto* attention = std::get_if<AttentionConfig>(&sublayer.config.kind);
        if (attention && attention->qk_norm == QkNorm::full && sublayer.norm.type == NormType::layer &&
            grid.tensor.size > 1)
            faults.add(
                fmt::format("model.sublayers.{}.qk_norm: full with a LayerNorm cannot be shared out "
                            "over parallel.tensor: {}; use norm.type: rms or tensor: 1",
                            sublayer.name, grid.tensor.size));
        for (const std::string& text : faults.texts())
            if (checked.insert(text).second) add(text);
    }
    if (!has_experts_ && grid.expert.size * grid.expert_tensor.size > 1)
        add(
            fmt::format("parallel.expert: {} and expert_tensor: {} share out experts, and no layer has "
                        "a moe sublayer",
                        grid.expert.size, grid.expert_tensor.size));
    if (vocab_size_ < grid.tensor.size)
        add(fmt::format("model.vocab_size: {} words cannot be shared out over parallel.tensor: {}",
                        vocab_size_, grid.tensor.size));
    return lines;
}

} // namespace braid
