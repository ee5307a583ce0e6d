#include "optim/gradient_norm.h"

#include <cmath>

#include "ops/basic/reduce.h"
#include "tensor/host_values.h"

namespace braid {

double gradient_sum_of_squares(const ParameterStore& store) {
    std::vector<Tensor> owned; // all are queued before anybody waits
    for (const auto& unit : store.units())
        for (const Bucket& bucket : unit->buckets) {
            if (!bucket.counted) continue;
            const FlatRange range = store.owned_range(bucket);
            owned.push_back(unit->gradients.rows(range.first, range.last - range.first));
        }
    if (owned.empty()) return 0;
    const Tensor squares =
        Tensor::empty(owned[0].allocator(), {static_cast<int64_t>(owned.size())}, DType::f64);
    for (size_t i = 0; i < owned.size(); ++i)
        ops::sum_of_squares(owned[i], squares.rows(static_cast<int64_t>(i), 1));
    double sum = 0;
    for (const double value : host_values<double>(squares)) sum += value;
    return sum;
}

double clip_factor(double norm, double clip) {
    return clip > 0 && norm > clip ? clip / norm : 1;
}

std::string first_non_finite_gradient(const ParameterStore& store) {
    for (const PlacedSection& section : store.sections()) {
        const Tensor& gradients = store.units()[static_cast<size_t>(section.unit)]->gradients;
        if (!std::isfinite(ops::max_abs(gradients.rows(section->unit_offset, section->numel()))))
            return section->spec.name;
    }
    return "";
}

} // namespace braid
