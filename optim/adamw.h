#pragma once

#include <map>
#include <string>
#include <vector>

#include "ops/update/adamw.h"
#include "optim/optimizer.h"

namespace braid {

/// AdamW (Loshchilov and Hutter, arXiv:1711.05101): m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, with the
/// bias corrections of Adam, p -= lr (m^ / (sqrt(v^) + eps) + wd p). State and arithmetic have the store's
/// dtype.
class AdamW : public Optimizer {
  public:
    AdamW(const OptimizerConfig& config, ParameterStore& store, Allocator& allocator, bool sharded = false);
    /// Of these ranges of each unit's flat buffers only.
    AdamW(const OptimizerConfig& config, ParameterStore& store, Allocator& allocator,
          const std::vector<std::vector<FlatRange>>& ranges);

    UpdateKind kind() const override { return UpdateKind::elementwise; }
    void update(int unit, int64_t step, double lr, double gradient_scale) override;
    void visit_state(const std::function<void(const std::string&, int, const FlatRange&, const Tensor&)>&
                         visit) const override;
    std::vector<std::string> states(int unit, size_t section) const override;
    void count_from(const std::map<std::string, int64_t>& first_steps) override;

  private:
    struct RangeState {
        FlatRange range;                                // of the unit's flat buffers
        std::map<int64_t, ops::AdamWSections> sections; // by the step that their state begins after
        Tensor first_moment, second_moment;
    };

    std::map<int64_t, ops::AdamWSections> sections_in(size_t unit, const FlatRange& range) const;

    const OptimizerConfig config_;
    ParameterStore& store_;
    Allocator& allocator_;
    std::vector<UnitSettings> settings_;
    std::map<std::string, int64_t> first_steps_; // by global name; all others 0
    std::vector<std::vector<RangeState>> state_; // by unit
};

} // namespace braid
