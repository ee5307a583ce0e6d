#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tensor/tape.h"

namespace braid {

using Values = std::vector<Tensor>;

/// The unit that schedules run: a forward function with a tape of its own. Stateless; everything a
/// micro-batch needs for backward lives in a Saved, so any number of micro-batches may be in flight.
class Segment {
  public:
    using Forward = std::function<Values(Context&, const Values&)>;

    enum class Policy : uint8_t {
        keep,      // hold what the tape saved until backward
        recompute, // hold the inputs only; backward runs forward again, to the same bits
    };

    /// What one micro-batch keeps between forward and backward.
    struct Saved {
        Values inputs;
        std::vector<ValueRef> outputs;
        Tape tape;

        int64_t bytes() const;
    };

    /// unit: the ParameterStore unit (layer) whose parameters this segment uses; `label` names it in
    /// profiles.
    Segment(std::string label, int unit, Policy policy, Forward forward)
        : label_(std::move(label)), unit_(unit), policy_(policy), forward_(std::move(forward)) {}

    const std::string& label() const { return label_; }
    int unit() const { return unit_; }
    /// The forward function itself, for running several segments on one tape.
    const Forward& function() const { return forward_; }

    /// Runs forward and fills `saved`; with saved null nothing is recorded (evaluation).
    Values forward(Context& ctx, const Values& inputs, Saved* saved) const;
    /// Consumes `saved`. `gradients` holds the gradients of the outputs and receives those of the inputs.
    void backward(Context& ctx, Saved& saved, Gradients& gradients,
                  WeightGradientQueue* queue = nullptr) const;

  private:
    std::string label_;
    int unit_;
    Policy policy_;
    Forward forward_;
};

} // namespace braid
