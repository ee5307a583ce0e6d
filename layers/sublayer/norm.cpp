#include "layers/sublayer/norm.h"

#include "layers/sublayer/layer.h"
#include "ops/basic/norm.h"
#include "ops/basic/split_norm.h"
#include "parallel/mesh.h"
#include "parallel/row_collectives.h"

namespace braid {

Norm::Norm(ParameterStore& store, const NormConfig& config, std::string name, int64_t size,
           std::string sublayer, int layer, Rows rows, int64_t parts)
    : config_(config), rows_(rows), size_(size) {
    ParameterSpec weight{.name = name + ".weight",
                         .shape = {size},
                         .role = ParameterRole::norm,
                         .fan_in = size,
                         .init = {Initializer::Kind::constant, config.zero_centered ? 0.0 : 1.0},
                         .sublayer = sublayer,
                         .layer = layer,
                         .partial_over_tensor = rows != Rows::stream || store.grid().sequence};
    if (rows == Rows::width) weight = split_over_tensor(weight, 0, {.count = parts});
    ParameterSpec bias = weight;
    bias.name = name + ".bias";
    bias.role = ParameterRole::bias;
    bias.init = {};
    weight_ = store.declare(std::move(weight));
    if (config.type == NormType::layer) bias_ = store.declare(std::move(bias));
}

Tensor Norm::forward(LayerContext& ctx, const Tensor& x) const {
    if (x.dim(-1) < size_) return forward_width(ctx, x);
    if (config_.type == NormType::layer) return ops::layer_norm(ctx, x, weight_, bias_, config_.eps);
    return ops::rms_norm(ctx, x, weight_, config_.eps, config_.zero_centered);
}

Tensor Norm::forward_width(LayerContext& ctx, const Tensor& x) const {
    check(rows_ == Rows::width && config_.type == NormType::rms && ctx.mesh,
          "a norm over {} features was given {}", size_, to_string(x.shape()));
    const int replicas = weight_->sections()[0].partition.tensor_replicas();
    // Ranks that hold the same heads have the same squares: the first of them counts.
    Tensor squares = ctx.mesh->grid().tensor.index % replicas == 0
                         ? ops::row_squares(ctx, x)
                         : Tensor::zeros(*ctx.allocator, {x.dim(0)}, accumulation_dtype(x.dtype()));
    squares = reduce_in_region(ctx, ctx.mesh->axis(Axis::tensor), squares);
    return ops::rms_norm_given_squares(ctx, x, squares, size_, weight_, config_.eps, config_.zero_centered);
}

} // namespace braid
