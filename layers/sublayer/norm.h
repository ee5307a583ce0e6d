#pragma once

#include <string>

#include "layers/specification/model_config.h"
#include "layers/sublayer/layer_context.h"
#include "tensor/parameters/parameter.h"

namespace braid {

/// RMSNorm (Zhang and Sennrich, 2019) or LayerNorm over the last dimension, as NormConfig says.
class Norm {
  public:
    /// What a rank normalises with it.
    enum class Rows {
        stream, // the residual stream as it stands between sublayers
        heads,  // its own heads: each rank's gradient is a part
        width,  // its part of a width that is shared out in `parts` over the tensor ranks
    };

    /// Declares "NAME.weight" (and "NAME.bias" for LayerNorm), each [size], at the given place in the model.
    Norm(ParameterStore& store, const NormConfig& config, std::string name, int64_t size,
         std::string sublayer = "", int layer = -1, Rows rows = Rows::stream, int64_t parts = 0);

    /// x [T, ..., size], rows may be strided; the result is packed. With Rows::width, x [T, this rank's
    /// part].
    Tensor forward(LayerContext& ctx, const Tensor& x) const;

  private:
    Tensor forward_width(LayerContext& ctx, const Tensor& x) const;

    NormConfig config_;
    Rows rows_;
    int64_t size_;
    const Parameter* weight_;
    const Parameter* bias_ = nullptr;
};

} // namespace braid
