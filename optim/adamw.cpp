#include "optim/adamw.h"

#include <algorithm>
#include <cmath>

namespace braid {
namespace {

/// The numbers of one update that are the same for a whole section.
template <typename T>
struct Coefficients {
    T beta1, one_minus_beta1, beta2, one_minus_beta2;
    T gradient_scale;
    T step_size;                // lr / (1 - b1^t)
    T inverse_root_correction2; // 1 / sqrt(1 - b2^t)
    T eps;
    T keep; // 1 - lr wd
};

template <typename T>
void update_elements(T* p, T* m, T* v, const T* g, int64_t count, const Coefficients<T>& c) {
#pragma omp parallel for simd schedule(static) if (count > 1 << 14)
    for (int64_t i = 0; i < count; ++i) {
        const T gradient = g[i] * c.gradient_scale;
        const T m1 = c.beta1 * m[i] + c.one_minus_beta1 * gradient;
        const T v1 = c.beta2 * v[i] + c.one_minus_beta2 * gradient * gradient;
        m[i] = m1;
        v[i] = v1;
        p[i] = c.keep * p[i] - c.step_size * m1 / (std::sqrt(v1) * c.inverse_root_correction2 + c.eps);
    }
}

} // namespace

AdamW::AdamW(const OptimizerConfig& config, ParameterStore& store, Allocator& allocator, bool sharded)
    : AdamW(config, store, allocator, updated_ranges(store, sharded)) {}

AdamW::AdamW(const OptimizerConfig& config, ParameterStore& store, Allocator& allocator,
             const std::vector<std::vector<FlatRange>>& ranges)
    : config_(config), store_(store), settings_(resolve_groups(config, store)) {
    for (const std::vector<FlatRange>& of_unit : ranges) {
        state_.emplace_back();
        for (const FlatRange& range : of_unit) {
            const Shape shape = {range.last - range.first};
            state_.back().push_back({range, Tensor::zeros(allocator, shape, store.dtype()),
                                     Tensor::zeros(allocator, shape, store.dtype())});
        }
    }
}

void AdamW::update(int unit, int64_t step, double lr, double gradient_scale) {
    for (const RangeState& state : state_[static_cast<size_t>(unit)])
        update_range(unit, state, step, lr, gradient_scale);
}

void AdamW::update_range(int unit_index, const RangeState& state, int64_t step, double lr,
                         double gradient_scale) {
    const ParameterStore::Unit& unit = store_.unit(unit_index);
    const UnitSettings& settings = settings_[static_cast<size_t>(unit_index)];
    const double beta1 = config_.betas[0], beta2 = config_.betas[1], t = static_cast<double>(step);
    dispatch_float(store_.dtype(), [&]<typename T>() {
        size_t index = 0;
        for (const Parameter* parameter : unit.parameters)
            for (const Parameter::Section& section : parameter->sections()) {
                const SectionSettings& s = settings[index++];
                const int64_t from = std::max(state.range.first, section.unit_offset);
                const int64_t to = std::min(state.range.last, section.unit_offset + section.numel());
                if (from >= to) continue;
                const int64_t at = from - state.range.first;
                const double section_lr = lr * s.lr_scale;
                const Coefficients<T> c{static_cast<T>(beta1),
                                        static_cast<T>(1 - beta1),
                                        static_cast<T>(beta2),
                                        static_cast<T>(1 - beta2),
                                        static_cast<T>(gradient_scale),
                                        static_cast<T>(section_lr / (1 - std::pow(beta1, t))),
                                        static_cast<T>(1 / std::sqrt(1 - std::pow(beta2, t))),
                                        static_cast<T>(config_.eps),
                                        static_cast<T>(1 - section_lr * s.weight_decay)};
                update_elements(unit.values.data<T>() + from, state.first_moment.data<T>() + at,
                                state.second_moment.data<T>() + at, unit.gradients.data<T>() + from,
                                to - from, c);
            }
    });
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
