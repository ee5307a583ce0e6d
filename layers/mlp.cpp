#include "layers/mlp.h"

#include "ops/activation.h"
#include "ops/linear.h"

namespace braid {

bool is_gated(Activation activation) {
    return activation == Activation::swiglu || activation == Activation::geglu;
}

Tensor activate(Context& ctx, const Tensor& x, Activation activation) {
    switch (activation) {
        case Activation::swiglu:
            return ops::swiglu(ctx, x);
        case Activation::geglu:
            return ops::geglu(ctx, x);
        case Activation::gelu:
            return ops::gelu(ctx, x);
        case Activation::silu:
            return ops::silu(ctx, x);
        case Activation::relu2:
            return ops::relu2(ctx, x);
    }
    throw InternalError("unknown activation");
}

MlpLayer::MlpLayer(const LayerBuilder& build, const MlpConfig& config) : activation_(config.activation) {
    const int64_t hidden = build.model.hidden_size;
    std::vector<ParameterSpec> sections;
    if (is_gated(activation_)) sections.push_back(build.matrix("gate.weight", {config.size, hidden}));
    sections.push_back(build.matrix("up.weight", {config.size, hidden}));
    input_ = build.store.declare(std::move(sections));
    output_ = build.store.declare(build.output_matrix("down.weight", {hidden, config.size}));
}

std::vector<Stage> MlpLayer::stages() const {
    return {{"", true, [this](Context& ctx, const Values& in) {
                 return Values{
                     ops::linear(ctx, activate(ctx, ops::linear(ctx, in[0], input_), activation_), output_)};
             }}};
}

double MlpLayer::forward_flops(const Documents& documents) const {
    return 2 * static_cast<double>(documents.num_tokens()) *
           static_cast<double>(input_->shape().numel() + output_->shape().numel());
}

} // namespace braid
