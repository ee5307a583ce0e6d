#include "layers/norm.h"

#include "ops/norm.h"

namespace braid {

Norm::Norm(ParameterStore& store, const NormConfig& config, std::string name, int64_t size,
           std::string sublayer, int layer)
    : config_(config) {
    const Initializer start{Initializer::Kind::constant, config.zero_centered ? 0.0 : 1.0};
    weight_ = store.declare(
        ParameterSpec{name + ".weight", {size}, ParameterRole::norm, size, start, sublayer, layer});
    if (config.type == NormType::layer)
        bias_ = store.declare(
            ParameterSpec{name + ".bias", {size}, ParameterRole::bias, size, {}, sublayer, layer});
}

Tensor Norm::forward(Context& ctx, const Tensor& x) const {
    if (config_.type == NormType::layer) return ops::layer_norm(ctx, x, weight_, bias_, config_.eps);
    return ops::rms_norm(ctx, x, weight_, config_.eps, config_.zero_centered);
}

} // namespace braid
