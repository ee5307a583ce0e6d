#pragma once

#include <string>
#include <vector>

#include "layers/specification/pattern.h"
#include "tensor/parameters/parameter.h"

namespace braid::testing::reference {

// Plain implementations of every sublayer, token by token and head by head, written from the papers'
// equations: nothing here is chunked, tiled, fused or shared with layers/ and ops/. Matrices are rows of
// doubles.
using Row = std::vector<double>;
using Matrix = std::vector<Row>;

/// The parameters of a store by global name.
class Weights {
  public:
    explicit Weights(const ParameterStore& store) : store_(store) {}
    /// [out, in], or a vector as one row.
    Matrix matrix(const std::string& name) const;
    Row vector(const std::string& name) const;
    /// Expert e of a stack [E, out, in].
    Matrix expert(const std::string& name, int64_t e) const;

  private:
    const Parameter::Section& find(const std::string& name, const double*& data) const;
    const ParameterStore& store_;
};

/// x + F(N(x)) and its kin, for the tokens x [T, D] of documents with these lengths. `prefix` is
/// "layers.I.NAME.".
Matrix block(const Weights& weights, const ModelConfig& model, const ResolvedSublayer& sublayer,
             const std::string& prefix, const Matrix& x, const std::vector<int32_t>& documents);

/// The cross-entropy sum over valid labels of a whole model.
double model_loss(const Weights& weights, const ModelConfig& model, const std::vector<int32_t>& tokens,
                  const std::vector<int32_t>& labels, const std::vector<int32_t>& documents);

} // namespace braid::testing::reference
