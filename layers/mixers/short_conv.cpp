#include "layers/mixers/short_conv.h"

#include "layers/mixers/convolution.h"
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
            .not_built({"bias"});
    return schema;
}

void shrink(ShortConvConfig&) {}

} // namespace

SublayerType short_conv_type() {
    SublayerType type = describe_sublayer<ShortConvConfig, ShortConvLayer>(
        "short_conv", short_conv_schema(), shrink, {{"short_conv", ShortConvConfig{}}});
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
    const auto parts = ops::split_columns(ctx, ops::linear(ctx, h, input_), widths);
    const Tensor gated = ops::multiply(ctx, parts[0], parts[2]);
    const Tensor mixed = short_convolution(ctx, this, gated, conv_, false);
    return from_row_parallel(ctx, ops::linear(ctx, ops::multiply(ctx, parts[1], mixed), output_));
}

} // namespace braid
