#include "layers/feed_forward/mlp.h"

#include "layers/sublayer/biases.h"
#include "layers/sublayer/regions.h"
#include "ops/basic/activation.h"
#include "ops/basic/linear.h"

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
    const WholeParts features{config.size, "size"};
    const auto rows = [&](const char* part) {
        return split_over_tensor(build.matrix(part, {config.size, hidden}), 0, features);
    };
    if (is_gated(activation_)) sections.push_back(rows("gate.weight"));
    sections.push_back(rows("up.weight"));
    input_ = build.store.declare(std::move(sections));
    output_ = build.store.declare(
        split_over_tensor(build.output_matrix("down.weight", {hidden, config.size}), 1, features));
    if (has_bias(config.bias, MlpProjection::up)) {
        const auto bias = [&](const char* part) {
            return split_over_tensor(build.bias(part, {config.size}), 0, features);
        };
        std::vector<ParameterSpec> biases;
        if (is_gated(activation_)) biases.push_back(bias("gate.bias"));
        biases.push_back(bias("up.bias"));
        input_bias_ = build.store.declare(std::move(biases));
    }
    if (has_bias(config.bias, MlpProjection::down))
        output_bias_ = build.store.declare(build.output_bias("down.bias", hidden));
}

std::vector<Phase> MlpLayer::phases() const {
    return {{"", true, [this](LayerContext& ctx, const Values& in) {
                 const Tensor h = to_column_parallel(ctx, in[0]);
                 const Tensor projected = with_bias(ctx, ops::linear(ctx, h, input_), input_bias_);
                 const Tensor part = ops::linear(ctx, activate(ctx, projected, activation_), output_);
                 return Values{with_bias(ctx, from_row_parallel(ctx, part), output_bias_)};
             }}};
}

double MlpLayer::forward_flops(const Documents& documents) const {
    return 2 * static_cast<double>(documents.num_tokens()) *
           static_cast<double>(input_->num_global_elements() + output_->num_global_elements());
}

} // namespace braid
