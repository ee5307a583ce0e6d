#include "tensor/segment.h"

#include <set>

#include "base/profiler.h"

namespace braid {

int64_t Segment::Saved::bytes() const {
    std::set<const void*> seen;
    int64_t bytes = tape.saved_bytes();
    if (tape.size() > 0) return bytes; // the tape already counts the inputs it needs
    for (const Tensor& input : inputs)
        if (input.defined() && seen.insert(input.storage_key()).second)
            bytes += static_cast<int64_t>(input.storage_bytes());
    return bytes;
}

Values Segment::forward(Context& ctx, const Values& inputs, Saved* saved) const {
    if (ctx.profiler) ctx.profiler->set_layer(label_);
    Context run = ctx;
    run.tape = saved && policy_ == Policy::keep ? &saved->tape : nullptr;
    Values outputs = forward_(run, inputs);
    if (saved) {
        if (policy_ == Policy::recompute) saved->inputs = inputs;
        for (const Tensor& output : outputs) saved->outputs.push_back(output.ref());
    }
    return outputs;
}

void Segment::backward(Context& ctx, Saved& saved, Gradients& gradients, WeightGradientQueue* queue) const {
    if (ctx.profiler) ctx.profiler->set_layer(label_);
    if (policy_ == Policy::recompute) {
        Context run = ctx;
        run.tape = &saved.tape;
        run.recorder = nullptr;
        const Values outputs = forward_(run, saved.inputs);
        check(outputs.size() == saved.outputs.size(), "{}: the recomputation gave other outputs", label_);
        for (size_t i = 0; i < outputs.size(); ++i) { // gradients arrived under the ids of the first run
            Tensor dy = gradients.take(saved.outputs[i]);
            if (dy.defined()) gradients.add(outputs[i].ref(), std::move(dy));
        }
    }
    saved.tape.backward(ctx, gradients, queue);
    saved.inputs.clear();
}

} // namespace braid
