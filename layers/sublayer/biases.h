#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "base/schema.h"
#include "ops/basic/bias.h"

namespace braid {

// Biases of projections: a config's `bias` lists those that have one, as values of an enum of the type's
// projections.

template <NamedEnum P>
bool has_bias(const std::vector<P>& list, P projection) {
    return std::find(list.begin(), list.end(), projection) != list.end();
}

/// x + b, or x where there is no b.
inline Tensor with_bias(Context& ctx, const Tensor& x, const Parameter* b) {
    return b ? ops::add_bias(ctx, x, b) : x;
}

/// Refuses names that are there twice, and projections that are not there: those of which `missing` says why.
void check_bias_names(const std::vector<std::string>& list,
                      const std::function<std::string(const std::string&)>& missing, SectionCheck& check);

template <NamedEnum P>
void check_biases(
    const std::vector<P>& list, SectionCheck& check,
    const std::function<std::string(P)>& missing = [](P) { return std::string(); }) {
    std::vector<std::string> names;
    for (const P projection : list) names.emplace_back(to_string(projection));
    check_bias_names(
        names,
        [&](const std::string& name) {
            const auto found = std::find(names.begin(), names.end(), name);
            return missing(list[static_cast<size_t>(found - names.begin())]);
        },
        check);
}

/// In one order, so that a list says the same however it is written.
template <NamedEnum P>
void sort_biases(std::vector<P>& list) {
    std::sort(list.begin(), list.end());
}

inline constexpr std::string_view kBiasRule = "bias names projections that are there, each once";

} // namespace braid
