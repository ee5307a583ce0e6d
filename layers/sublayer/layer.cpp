#include "layers/sublayer/layer.h"

#include <algorithm>
#include <cmath>

namespace braid {

std::string LayerBuilder::name(const std::string& part) const {
    return fmt::format("layers.{}.{}.{}", layer, sublayer.name, part);
}

Initializer matrix_initializer(const InitConfig& init, double scale) {
    if (scale == 0) return {Initializer::Kind::constant, 0};
    const auto kind = init.distribution == InitDistribution::normal ? Initializer::Kind::normal
                                                                    : Initializer::Kind::truncated_normal;
    return {kind, init.std * scale};
}

ParameterSpec LayerBuilder::other(const std::string& part, const Shape& shape, ParameterRole role,
                                  Initializer init) const {
    return {.name = name(part),
            .shape = shape,
            .role = role,
            .fan_in = shape[shape.rank() - 1],
            .init = init,
            .sublayer = sublayer.name,
            .layer = layer};
}

int64_t LayerBuilder::per_tensor_rank(int64_t count) const {
    return std::max<int64_t>(count / store.grid().tensor.size, 1);
}

ParameterSpec split_over_tensor(ParameterSpec spec, int dim, const WholeParts& parts) {
    spec.splits.push_back(
        {.dim = dim, .axis = Axis::tensor, .parts = parts.count, .key = parts.key, .repeats = parts.repeats});
    return spec;
}

ParameterSpec split_heads(ParameterSpec spec, int dim, const WholeParts& heads) {
    if (spec.matrices)
        (dim + 1 == spec.shape.rank() ? spec.matrices->column_heads : spec.matrices->row_heads) = heads.count;
    return split_over_tensor(std::move(spec), dim, heads);
}

void shrink_heads(int64_t& few, int64_t& many) {
    const int64_t ratio = many / few;
    few = std::min<int64_t>(few, 2);
    many = few * std::min<int64_t>(ratio, 8);
}

ParameterSpec LayerBuilder::matrix(const std::string& part, const Shape& shape, ParameterRole role) const {
    ParameterSpec spec = other(part, shape, role, matrix_initializer(sublayer.init));
    if (role != ParameterRole::router) spec.matrices.emplace();
    return spec;
}

ParameterSpec LayerBuilder::gate(const std::string& part, const Shape& shape) const {
    return other(part, shape, ParameterRole::matrix, matrix_initializer(sublayer.init));
}

ParameterSpec LayerBuilder::convolution(const std::string& part, int64_t channels, int64_t taps) const {
    const double bound = 1 / std::sqrt(static_cast<double>(taps));
    return other(part, {channels, taps}, ParameterRole::conv, {Initializer::Kind::uniform, -bound, bound});
}

ParameterSpec LayerBuilder::bias(const std::string& part, const Shape& shape) const {
    return other(part, shape, ParameterRole::bias, {});
}

ParameterSpec LayerBuilder::output_bias(const std::string& part, int64_t width) const {
    ParameterSpec spec = bias(part, {width});
    spec.partial_over_tensor = store.grid().sequence;
    return spec;
}

ParameterSpec LayerBuilder::output_matrix(const std::string& part, const Shape& shape,
                                          ParameterRole role) const {
    double scale = 1;
    if (sublayer.init.output == InitOutput::depth_scaled)
        scale = 1 / std::sqrt(2.0 * static_cast<double>(num_layers));
    if (sublayer.init.output == InitOutput::zero) scale = 0;
    ParameterSpec spec = matrix(part, shape, role);
    spec.init = matrix_initializer(sublayer.init, scale);
    return spec;
}

} // namespace braid
