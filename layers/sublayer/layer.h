#pragma once

#include <functional>
#include <string>
#include <vector>

#include "layers/specification/pattern.h"
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
    ParameterSpec other(const std::string& part, const Shape& shape, ParameterRole role,
                        Initializer init) const;

    /// How many of `count` heads or features one tensor rank holds; at least one.
    int64_t per_tensor_rank(int64_t count) const;
};

/// The spec with dimension `dim` shared out over the tensor ranks in `parts` that stay whole, such as heads.
ParameterSpec split_over_tensor(ParameterSpec spec, int dim, int64_t parts = 0);

/// The same in heads, which stay whole.
ParameterSpec split_heads(ParameterSpec spec, int dim, int64_t num_heads);

/// The initializer of a matrix of the model.
Initializer matrix_initializer(const InitConfig& init, double scale = 1);

/// One step of a sublayer, run as a segment of its own.
struct Phase {
    std::string name;  // empty for a sublayer of one phase
    bool recomputable; // false where the results decide the shapes of what follows (routing)
    std::function<Values(LayerContext&, const Values&)> run;
};

/// F of a sublayer: what stands between its norms and its residual. Const in forward; everything that changes
/// comes with the context. A new mixer implements this and is named in layers/model/registry.cpp; its author
/// writes forward only.
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

} // namespace braid
