#include "ops/cpu/weights.h"

namespace braid::ops::cpu {
namespace {

struct Bf16Weights : DerivedValues {
    Tensor widened;
    std::vector<PackedMatrix> transposed, plain;

    static Bf16Weights& of(const Parameter& w) {
        if (!w.derived()) w.derived() = std::make_unique<Bf16Weights>();
        return static_cast<Bf16Weights&>(*w.derived());
    }
};

void pack(const Tensor& w, bool transposed, std::vector<PackedMatrix>& matrices) {
    const int64_t out = w.dim(-2), in = w.dim(-1), groups = w.rank() == 3 ? w.dim(0) : 1;
    for (int64_t g = 0; g < groups; ++g)
        matrices.emplace_back(w.allocator(), transposed, transposed ? in : out, transposed ? out : in,
                              w.data<bf16>() + g * out * in, in);
}

} // namespace

Tensor widened_weights(const Parameter& w) {
    const Tensor& values = w.compute_value();
    if (values.dtype() != DType::bf16) return values;
    Bf16Weights& made = Bf16Weights::of(w);
    if (!made.widened.defined()) made.widened = widened(values);
    return made.widened;
}

std::span<const PackedMatrix> packed_transposed_weights(const Parameter& w) {
    auto& matrices = Bf16Weights::of(w).transposed;
    if (matrices.empty()) pack(w.compute_value(), true, matrices);
    return matrices;
}

std::span<const PackedMatrix> packed_weights(const Parameter& w) {
    auto& matrices = Bf16Weights::of(w).plain;
    if (matrices.empty()) pack(w.compute_value(), false, matrices);
    return matrices;
}

} // namespace braid::ops::cpu
