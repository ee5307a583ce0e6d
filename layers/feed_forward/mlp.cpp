#include "layers/feed_forward/mlp.h"

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
}

std::vector<Phase> MlpLayer::phases() const {
    return {{"", true, [this](LayerContext& ctx, const Values& in) {
                 const Tensor h = to_column_parallel(ctx, in[0]);
                 const Tensor hidden = activate(ctx, ops::linear(ctx, h, input_), activation_);
                 return Values{from_row_parallel(ctx, ops::linear(ctx, hidden, output_))};
             }}};
}

double MlpLayer::forward_flops(const Documents& documents) const {
    return 2 * static_cast<double>(documents.num_tokens()) *
           static_cast<double>(input_->num_global_elements() + output_->num_global_elements());
}

} // namespace braid
