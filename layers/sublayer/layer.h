#pragma once

#include <functional>
#include <string>
#include <vector>

#include "layers/specification/sublayer_type.h"
#include "layers/sublayer/layer_context.h"
#include "ops/documents.h"
#include "tensor/parameters/parameter.h"

namespace braid {

/// Where a layer stands when it declares its parameters.
struct LayerBuilder {
    ParameterStore& store;
    const ModelConfig& model;
    const ResolvedSublayer& sublayer;
    int layer; // from 0
    int64_t num_layers;
    int position; // among the sublayers of the layer, from 0
    int& num_moe; // MoE sublayers so far; each counts itself

    /// The global name of a part, such as "layers.3.attn.q.weight".
    std::string name(const std::string& part) const;
    /// A matrix [out, in] (or a stack of them) with the sublayer's init.
    ParameterSpec matrix(const std::string& part, const Shape& shape,
                         ParameterRole role = ParameterRole::matrix) const;
    /// A matrix that writes to the residual stream; init.output sets its scale.
    ParameterSpec output_matrix(const std::string& part, const Shape& shape,
                                ParameterRole role = ParameterRole::matrix) const;
    /// A projection to gates, one number each per head or token: a matrix in all but name, as its rows have
    /// nothing to do with each other.
    ParameterSpec gate(const std::string& part, const Shape& shape) const;
    /// Depthwise, w [channels, taps], with PyTorch's start, which published models keep: uniform within
    /// 1/sqrt(taps).
    ParameterSpec convolution(const std::string& part, int64_t channels, int64_t taps) const;
    /// Of a projection, zero at first; shared out as the rows of its matrix are.
    ParameterSpec bias(const std::string& part, const Shape& shape) const;
    /// Of a row-parallel matrix, whose results are sums over tensor ranks: added once, to what
    /// from_row_parallel gives, so that the ranks see it beside their share of the tokens or beside the same.
    ParameterSpec output_bias(const std::string& part, int64_t width) const;
    ParameterSpec other(const std::string& part, const Shape& shape, ParameterRole role,
                        Initializer init) const;

    /// How many of `count` heads or features one tensor rank holds; at least one.
    int64_t per_tensor_rank(int64_t count) const;
};

/// The parts of a dimension that stay whole when it is shared out, such as heads. Layouts are checked against
/// what a layer says here, and nothing else.
struct WholeParts {
    int64_t count = 0;    // 0: every index is one
    const char* key = ""; // that counts them in the sublayer's config; "" where another tensor says it
    bool repeats = false; // fewer parts than ranks: several ranks hold the same
};

/// The spec with dimension `dim` shared out over the tensor ranks.
ParameterSpec split_over_tensor(ParameterSpec spec, int dim, const WholeParts& parts = {});
/// The same in heads.
ParameterSpec split_heads(ParameterSpec spec, int dim, const WholeParts& heads);

/// The initializer of a matrix of the model.
Initializer matrix_initializer(const InitConfig& init, double scale = 1);

/// One step of a sublayer, run as a segment of its own.
struct Phase {
    std::string name;  // empty for a sublayer of one phase
    bool recomputable; // false where the results decide the shapes of what follows (routing)
    std::function<Values(LayerContext&, const Values&)> run;
};

/// F of a sublayer: what stands between its norms and its residual. Const in forward; everything that changes
/// comes with the context. A new mixer implements this and has a SublayerType; its author writes forward
/// only.
class Sublayer {
  public:
    virtual ~Sublayer() = default;

    /// The steps of F, in order. The first takes {h [T, D]}, each following one what the one before gave, and
    /// the last gives {y [T, D]}.
    virtual std::vector<Phase> phases() const = 0;
    /// Multiply-adds of forward counted as two operations each, for these documents; docs/performance.md has
    /// the formulas.
    virtual double forward_flops(const Documents& documents) const = 0;
    /// Parameter elements that one token does not use (experts it is not sent to).
    virtual int64_t num_idle_parameters() const { return 0; }
};

/// The descriptor of a layer made from a Config: Layer(const LayerBuilder&, const Config&). `keys` outlives
/// it.
template <typename Config, typename Layer>
SublayerType describe_sublayer(const std::string& name, const Schema<Config>& keys, void (*shrink)(Config&),
                               std::vector<SublayerType::Example> examples) {
    SublayerType type;
    type.name = name;
    type.initial = Config{};
    type.add_keys = [name, &keys](Schema<SublayerConfig>& all) {
        all.alternative(name, &SublayerConfig::kind, keys);
    };
    type.make = [](const LayerBuilder& build) {
        return std::make_unique<Layer>(build, build.sublayer.config.kind.template get<Config>());
    };
    type.shrink = [shrink](AnyStruct& config) { shrink(config.get<Config>()); };
    type.examples = std::move(examples);
    return type;
}

/// For SublayerType::shrink: sizes of heads at the ratio of the real ones.
void shrink_heads(int64_t& few, int64_t& many);

} // namespace braid
