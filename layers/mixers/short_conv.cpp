#include "layers/mixers/short_conv.h"

#include "layers/mixers/convolution.h"
#include "layers/sublayer/biases.h"
#include "layers/sublayer/regions.h"
#include "ops/basic/linear.h"
#include "ops/basic/split.h"
#include "ops/compose/pointwise.h"

namespace braid {
namespace {

const Schema<ShortConvConfig>& short_conv_schema() {
    static const Schema<ShortConvConfig> schema =
        Schema<ShortConvConfig>()
            .key("kernel", &ShortConvConfig::kernel,
                 {.help = "taps of the causal convolution", .min = 1, .max = 64, .aliases = {"conv_L_cache"}})
            .key("bias", &ShortConvConfig::bias,
                 {.help = "projections with a bias, and the convolution",
                  .default_text = "[]",
                  .aliases = {"conv_bias", "use_bias", "add_bias_linear"},
                  .example = "[in, conv, out]"})
            .finish([](ShortConvConfig& c, SectionCheck&) { sort_biases(c.bias); })
            .rule(std::string(kBiasRule),
                  [](const ShortConvConfig& c, SectionCheck& check) { check_biases(c.bias, check); });
    return schema;
}

void shrink(ShortConvConfig&) {}

} // namespace

SublayerType short_conv_type() {
    SublayerType type = describe_sublayer<ShortConvConfig, ShortConvLayer>(
        "short_conv", short_conv_schema(), shrink,
        {{"short_conv", ShortConvConfig{}},
         {"short_conv_bias", ShortConvConfig{.kernel = 2,
                                             .bias = {ShortConvProjection::in, ShortConvProjection::conv,
                                                      ShortConvProjection::out}}}});
    type.synonyms = "conv shortconv lfm2";
    return type;
}

ShortConvLayer::ShortConvLayer(const LayerBuilder& build, const ShortConvConfig& config) {
    const int64_t width = build.model.hidden_size;
    const WholeParts channels{width, "model.hidden_size"};
    const auto rows = [&](const char* part) {
        return split_over_tensor(build.matrix(part, {width, width}), 0, channels);
    };
    input_ = build.store.declare({rows("b.weight"), rows("c.weight"), rows("x.weight")});
    conv_ = build.store.declare(
        split_over_tensor(build.convolution("conv.weight", width, config.kernel), 0, channels));
    output_ = build.store.declare(
        split_over_tensor(build.output_matrix("out.weight", {width, width}), 1, channels));
    const auto bias = [&](const char* part) {
        return split_over_tensor(build.bias(part, {width}), 0, channels);
    };
    if (has_bias(config.bias, ShortConvProjection::in))
        input_bias_ = build.store.declare({bias("b.bias"), bias("c.bias"), bias("x.bias")});
    if (has_bias(config.bias, ShortConvProjection::conv)) conv_bias_ = build.store.declare(bias("conv.bias"));
    if (has_bias(config.bias, ShortConvProjection::out))
        output_bias_ = build.store.declare(build.output_bias("out.bias", width));
}

std::vector<Phase> ShortConvLayer::phases() const {
    return {{"", true, [this](LayerContext& ctx, const Values& in) { return Values{forward(ctx, in[0])}; }}};
}

double ShortConvLayer::forward_flops(const Documents& documents) const {
    return 2 * static_cast<double>(documents.num_tokens()) *
           static_cast<double>(input_->num_global_elements() + conv_->num_global_elements() +
                               output_->num_global_elements());
}

Tensor ShortConvLayer::forward(LayerContext& ctx, const Tensor& stream) const {
    const Tensor h = to_column_parallel(ctx, stream);
    const std::vector<int64_t> widths(3, conv_->shape()[0]);
    const auto parts =
        ops::split_columns(ctx, with_bias(ctx, ops::linear(ctx, h, input_), input_bias_), widths);
    const Tensor gated = ops::multiply(ctx, parts[0], parts[2]);
    const Tensor mixed = with_bias(ctx, short_convolution(ctx, this, gated, conv_, false), conv_bias_);
    const Tensor part = ops::linear(ctx, ops::multiply(ctx, parts[1], mixed), output_);
    return with_bias(ctx, from_row_parallel(ctx, part), output_bias_);
}

} // namespace braid
