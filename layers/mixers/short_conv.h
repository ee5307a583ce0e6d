#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "layers/sublayer/layer.h"

namespace braid {

/// Those that may have a bias; in is b, c and x.
enum class ShortConvProjection { in, conv, out };
constexpr auto enum_names(ShortConvProjection) {
    return std::array<std::string_view, 3>{"in", "conv", "out"};
}

struct ShortConvConfig {
    int64_t kernel = 3;                    // taps
    std::vector<ShortConvProjection> bias; // of these
    bool operator==(const ShortConvConfig&) const = default;
};

/// The double-gated short convolution of LFM2: b, c, x = W_in h; y = W_out (c ⊙ conv(b ⊙ x)), a causal
/// convolution of each channel by itself without an activation.
class ShortConvLayer : public Sublayer {
  public:
    ShortConvLayer(const LayerBuilder& build, const ShortConvConfig& config);

    std::vector<Phase> phases() const override;
    double forward_flops(const Documents& documents) const override;

  private:
    Tensor forward(LayerContext& ctx, const Tensor& stream) const;

    const Parameter* input_; // b, c, x
    const Parameter* conv_;
    const Parameter* output_;
    const Parameter *input_bias_ = nullptr, *conv_bias_ = nullptr, *output_bias_ = nullptr;
};

/// type: short_conv.
SublayerType short_conv_type();

} // namespace braid
