#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tensor/tape.h"

namespace braid {

using Values = std::vector<Tensor>;

enum class SegmentPolicy : uint8_t {
    keep,      // hold what the tape saved until backward
    recompute, // hold the inputs only; backward runs forward again, to the same bits
};

/// What one micro-batch keeps of a segment between forward and backward.
struct SegmentSaved {
    Values inputs;
    std::vector<ValueRef> outputs;
    Tape tape;

    int64_t bytes() const;
};

/// The unit that schedules run: a forward function with a tape of its own. Stateless; everything a
/// micro-batch needs for backward lives in a Saved, so any number of micro-batches may be in flight.
/// RunContext: a Context, or what derives from it.
template <typename RunContext>
class BasicSegment {
  public:
    using Forward = std::function<Values(RunContext&, const Values&)>;
    using Policy = SegmentPolicy;
    using Saved = SegmentSaved;

    /// unit: the ParameterStore unit (layer) whose parameters this segment uses; `label` names it in
    /// profiles.
    BasicSegment(std::string label, int unit, Policy policy, Forward forward)
        : label_(std::move(label)), unit_(unit), policy_(policy), forward_(std::move(forward)) {}

    const std::string& label() const { return label_; }
    int unit() const { return unit_; }
    /// The forward function itself, for running several segments on one tape.
    const Forward& function() const { return forward_; }

    /// Runs forward and fills `saved`; with saved null nothing is recorded (evaluation).
    Values forward(const RunContext& ctx, const Values& inputs, Saved* saved) const;
    /// Consumes `saved`. `gradients` holds the gradients of the outputs and receives those of the inputs.
    void backward(const RunContext& ctx, Saved& saved, Gradients& gradients) const;

  private:
    std::string label_;
    int unit_;
    Policy policy_;
    Forward forward_;
};

using Segment = BasicSegment<Context>;

template <typename RunContext>
Values BasicSegment<RunContext>::forward(const RunContext& ctx, const Values& inputs, Saved* saved) const {
    if (ctx.profiler) ctx.profiler->set_layer(label_);
    RunContext run = ctx;
    run.tape = saved && policy_ == Policy::keep ? &saved->tape : nullptr;
    Values outputs = forward_(run, inputs);
    if (saved) {
        if (policy_ == Policy::recompute) saved->inputs = inputs;
        for (const Tensor& output : outputs) saved->outputs.push_back(output.ref());
    }
    return outputs;
}

template <typename RunContext>
void BasicSegment<RunContext>::backward(const RunContext& ctx, Saved& saved, Gradients& gradients) const {
    if (ctx.profiler) ctx.profiler->set_layer(label_);
    if (policy_ == Policy::recompute) {
        RunContext run = ctx;
        run.tape = &saved.tape;
        run.recomputing = true;
        const Values outputs = forward_(run, saved.inputs);
        check(outputs.size() == saved.outputs.size(), "{}: the recomputation gave other outputs", label_);
        for (size_t i = 0; i < outputs.size(); ++i) { // gradients arrived under the ids of the first run
            Tensor dy = gradients.take(saved.outputs[i]);
            if (dy.defined()) gradients.add(outputs[i].ref(), std::move(dy));
        }
    }
    RunContext run = ctx;
    run.tape = nullptr;
    saved.tape.backward(run, gradients);
    saved.inputs.clear();
}

} // namespace braid
