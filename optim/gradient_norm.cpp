#include "optim/gradient_norm.h"

#include <cmath>

#include "ops/reduce.h"

namespace braid {

double gradient_sum_of_squares(const ParameterStore& store) {
    double sum = 0;
    for (const auto& unit : store.units())
        for (const Bucket& bucket : unit->buckets) {
            if (!bucket.counted) continue;
            const FlatRange owned = store.owned_range(bucket);
            sum += ops::sum_of_squares(unit->gradients.rows(owned.first, owned.last - owned.first));
        }
    return sum;
}

double clip_factor(double norm, double clip) {
    return clip > 0 && norm > clip ? clip / norm : 1;
}

std::string first_non_finite_gradient(const ParameterStore& store) {
    for (const auto& unit : store.units())
        for (const Parameter* parameter : unit->parameters)
            for (const Parameter::Section& section : parameter->sections())
                if (!std::isfinite(ops::max_abs(unit->gradients.rows(section.unit_offset, section.numel()))))
                    return section.spec.name;
    return "";
}

} // namespace braid
