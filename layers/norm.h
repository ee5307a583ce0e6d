#pragma once

#include <string>

#include "layers/model_config.h"
#include "tensor/context.h"
#include "tensor/parameter.h"

namespace braid {

/// RMSNorm (Zhang and Sennrich, 2019) or LayerNorm over the last dimension, as NormConfig says.
class Norm {
  public:
    /// Declares "NAME.weight" (and "NAME.bias" for LayerNorm), each [size], at the given place in the model.
    Norm(ParameterStore& store, const NormConfig& config, std::string name, int64_t size,
         std::string sublayer = "", int layer = -1);

    /// x [T, ..., size], rows may be strided; the result is packed.
    Tensor forward(Context& ctx, const Tensor& x) const;

  private:
    NormConfig config_;
    const Parameter* weight_;
    const Parameter* bias_ = nullptr;
};

} // namespace braid
