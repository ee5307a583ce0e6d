#include "optim/adamw.h"

namespace braid {

AdamW::AdamW(const OptimizerConfig& config, ParameterStore& store, Allocator& allocator, bool sharded)
    : AdamW(config, store, allocator, updated_ranges(store, sharded)) {}

AdamW::AdamW(const OptimizerConfig& config, ParameterStore& store, Allocator& allocator,
             const std::vector<std::vector<FlatRange>>& ranges)
    : config_(config), store_(store), allocator_(allocator), settings_(resolve_groups(config, store)) {
    for (size_t u = 0; u < ranges.size(); ++u) {
        state_.emplace_back();
        for (const FlatRange& range : ranges[u]) {
            const Shape shape = {range.last - range.first};
            state_.back().push_back({range, sections_in(u, range),
                                     Tensor::zeros(allocator, shape, store.dtype()),
                                     Tensor::zeros(allocator, shape, store.dtype())});
        }
    }
}

std::map<int64_t, ops::AdamWSections> AdamW::sections_in(size_t unit, const FlatRange& range) const {
    std::map<int64_t, std::vector<ops::AdamWSection>> sections;
    for (const PlacedSection& section : store_.sections(static_cast<int>(unit))) {
        const SectionSettings& settings = settings_of(settings_, section);
        const FlatRange part = overlap(range, section->flat());
        if (part.numel() == 0) continue;
        const auto later = first_steps_.find(section->spec.name);
        sections[later == first_steps_.end() ? 0 : later->second].push_back(
            {part.first - range.first, part.last - range.first, settings.lr_scale, settings.weight_decay});
    }
    std::map<int64_t, ops::AdamWSections> result;
    for (const auto& [first_step, all] : sections)
        result.emplace(first_step, ops::AdamWSections(allocator_, all));
    return result;
}

void AdamW::count_from(const std::map<std::string, int64_t>& first_steps) {
    first_steps_ = first_steps;
    for (size_t unit = 0; unit < state_.size(); ++unit)
        for (RangeState& state : state_[unit]) state.sections = sections_in(unit, state.range);
}

void AdamW::update(int unit, int64_t step, double lr, double gradient_scale) {
    const ParameterStore::Unit& buffers = store_.unit(unit);
    ops::AdamWStep numbers{.beta1 = config_.betas[0],
                           .beta2 = config_.betas[1],
                           .eps = config_.eps,
                           .gradient_scale = gradient_scale,
                           .step = step,
                           .lr = lr};
    for (const RangeState& state : state_[static_cast<size_t>(unit)]) {
        const int64_t count = state.range.last - state.range.first;
        for (const auto& [first_step, sections] : state.sections) {
            numbers.step = step - first_step;
            ops::adamw(buffers.values.rows(state.range.first, count), state.first_moment, state.second_moment,
                       buffers.gradients.rows(state.range.first, count), sections, numbers);
        }
    }
}

std::vector<std::string> AdamW::states(int unit, size_t section) const {
    if (settings_[static_cast<size_t>(unit)][section].frozen) return {};
    return {"exp_avg", "exp_avg_sq"};
}

void AdamW::visit_state(
    const std::function<void(const std::string&, int, const FlatRange&, const Tensor&)>& visit) const {
    for (size_t unit = 0; unit < state_.size(); ++unit)
        for (const RangeState& state : state_[unit]) {
            visit("exp_avg", static_cast<int>(unit), state.range, state.first_moment);
            visit("exp_avg_sq", static_cast<int>(unit), state.range, state.second_moment);
        }
}

} // namespace braid
