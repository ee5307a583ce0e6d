#pragma once

#include <vector>

#include "optim/optimizer.h"

namespace braid {

/// AdamW (Loshchilov and Hutter, arXiv:1711.05101): m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, with the
/// bias corrections of Adam, p -= lr (m^ / (sqrt(v^) + eps) + wd p). State and arithmetic have the store's
/// dtype.
class AdamW : public Optimizer {
  public:
    AdamW(const OptimizerConfig& config, ParameterStore& store, Allocator& allocator);

    UpdateKind kind() const override { return UpdateKind::elementwise; }
    void update(int unit, int64_t first, int64_t last, int64_t step, double lr,
                double gradient_scale) override;
    void visit_state(const std::function<void(const std::string&, int, const Tensor&)>& visit) const override;

  private:
    struct UnitState {
        Tensor first_moment, second_moment; // flat, as the unit's values
    };

    const OptimizerConfig config_;
    ParameterStore& store_;
    std::vector<UnitSettings> settings_;
    std::vector<UnitState> state_;
};

} // namespace braid
