#include "ablation/report/thin_layers.h"

#include <fmt/format.h>

#include <algorithm>

#include "ablation/report/report.h"

namespace braid::report {
namespace {

/// Pairs of a row of values become one, an odd one at the end stays.
Json halved(const Json& values, const std::string& field) {
    Json result = Json::array();
    for (size_t i = 0; i < values.size(); i += 2) {
        const Json &first = values[i], &second = values[std::min(i + 1, values.size() - 1)];
        if (!first.is_number() || !second.is_number()) {
            result.push_back(first.is_number() ? first : second);
            continue;
        }
        const double a = first, b = second;
        result.push_back(rounded(field.ends_with("_max")   ? std::max(a, b)
                                 : field.ends_with("_min") ? std::min(a, b)
                                                           : (a + b) / 2,
                                 4));
    }
    return result;
}

void halve(Json& layers) {
    Json steps = Json::array();
    const Json& before = layers["step"];
    for (size_t i = 0; i < before.size(); i += 2) steps.push_back(before[std::min(i + 1, before.size() - 1)]);
    layers["step"] = std::move(steps);
    for (auto& [field, rows] : layers["fields"].items())
        for (Json& row : rows)
            if (row.is_array()) row = halved(row, field);
}

size_t bytes_of(const Json& value) {
    return to_script_text(value).size();
}

size_t layer_bytes(const Json& data) {
    size_t bytes = 0;
    for (const Json& run : data["runs"])
        if (run.contains("layers")) bytes += bytes_of(run["layers"]);
    return bytes;
}

size_t most_times(const Json& data) {
    size_t most = 0;
    for (const Json& run : data["runs"])
        if (run.contains("layers")) most = std::max(most, run["layers"]["step"].size());
    return most;
}

} // namespace

Json thin_layers(Json& data, size_t most) {
    Json notes = Json::array();
    size_t layers = layer_bytes(data);
    const size_t rest = bytes_of(data) - layers, times = most_times(data);
    while (rest + layers > most && most_times(data) > 1) {
        for (Json& run : data["runs"])
            if (run.contains("layers")) halve(run["layers"]);
        layers = layer_bytes(data);
    }
    if (most_times(data) < times)
        notes.push_back(fmt::format(
            "So that the page stays small, what layers.jsonl tells is thinned to {} of {} times a run.",
            most_times(data), times));
    int64_t without = 0;
    for (size_t i = data["runs"].size(); i-- > 0 && rest + layers > most;) {
        Json& run = data["runs"][i];
        if (!run.contains("layers")) continue;
        layers -= bytes_of(run["layers"]);
        run.erase("layers");
        ++without;
    }
    if (without > 0)
        notes.push_back(fmt::format(
            "So that the page stays small, what layers.jsonl tells of the last {} run(s) is left out.",
            without));
    return notes;
}

} // namespace braid::report
