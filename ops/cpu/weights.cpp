#include "ops/cpu/weights.h"

namespace braid::ops::cpu {
namespace {

struct WidenedWeights : DerivedValues {
    explicit WidenedWeights(const Tensor& bf16) : values(widened(bf16)) {}
    const Tensor values;
};

} // namespace

Tensor widened_weights(const Parameter& w) {
    const Tensor& values = w.compute_value();
    if (values.dtype() != DType::bf16) return values;
    if (!w.derived()) w.derived() = std::make_unique<WidenedWeights>(values);
    return static_cast<const WidenedWeights&>(*w.derived()).values;
}

} // namespace braid::ops::cpu
