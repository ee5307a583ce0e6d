#include "ablation/report/curve_json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "ablation/report/run_data.h"

namespace braid::report {
namespace {

Json steps_json(const ThinCurve& curve) {
    Json steps = Json::array();
    for (const CurveBucket& bucket : curve.buckets()) steps.push_back(bucket.step);
    return steps;
}

Json highs(const ThinCurve& curve, int digits) {
    Json values = Json::array();
    for (const CurveBucket& bucket : curve.buckets())
        values.push_back(bucket.count > 0 ? rounded(bucket.high.value, digits) : Json());
    return values;
}

/// Extremes of the parts under "low", "low_step" and so on.
void add_extremes(const ThinCurve& curve, const char* name, CurvePoint CurveBucket::*extreme,
                  const TokenAxis& axis, Json& data) {
    Json values = Json::array(), steps = Json::array(), tokens = Json::array();
    bool is_off_axis = false;
    for (const CurveBucket& bucket : curve.buckets()) {
        if (bucket.count == 0 || bucket.missing > 0) {
            for (Json* const list : {&values, &steps, &tokens}) list->push_back(nullptr);
            continue;
        }
        const CurvePoint& point = bucket.*extreme;
        values.push_back(rounded(point.value, 5));
        steps.push_back(point.step);
        tokens.push_back(point.tokens < 0 ? Json() : rounded(point.tokens, 17));
        is_off_axis |=
            point.tokens >= 0 && std::round(axis.at(static_cast<double>(point.step))) != point.tokens;
    }
    const std::string key = name;
    data[key] = std::move(values);
    data[key + "_step"] = std::move(steps);
    if (is_off_axis) data[key + "_tokens"] = std::move(tokens);
}

} // namespace

double number_of(const Json& object, const char* key) {
    return object.is_object() && object.contains(key) && object[key].is_number() ? object[key].get<double>()
                                                                                 : 0;
}

Json rounded(double value, int digits) {
    if (!std::isfinite(value)) return nullptr;
    char text[40];
    const auto [end, error] =
        std::to_chars(text, text + sizeof text, value, std::chars_format::general, digits);
    double result = value;
    std::from_chars(text, end, result);
    constexpr double kExact = 1e15;
    if (result == std::trunc(result) && std::abs(result) < kExact) return static_cast<int64_t>(result);
    return result;
}

Json axis_json(const RunData& run) {
    return {{"tokens", steps_json(run.tokens())},
            {"tokens_at", highs(run.tokens(), 17)},
            {"hours", steps_json(run.hours())},
            {"hours_at", highs(run.hours(), 6)}};
}

TokenAxis::TokenAxis(const Json& axis) {
    for (const Json& step : axis["tokens"]) steps_.push_back(step);
    for (const Json& value : axis["tokens_at"])
        tokens_.push_back(value.is_number() ? value.get<double>() : tokens_.empty() ? 0 : tokens_.back());
}

double TokenAxis::at(double step) const {
    const auto found = std::lower_bound(steps_.begin(), steps_.end(), step);
    if (found == steps_.end()) return tokens_.empty() ? 0 : tokens_.back();
    const auto i = static_cast<size_t>(found - steps_.begin());
    const double step_before = i > 0 ? steps_[i - 1] : 0, tokens_before = i > 0 ? tokens_[i - 1] : 0;
    if (*found <= step_before) return tokens_[i];
    return tokens_before + (tokens_[i] - tokens_before) * (step - step_before) / (*found - step_before);
}

Json curve_json(const ThinCurve& curve, const TokenAxis& axis) {
    Json mean = Json::array();
    bool spread = false;
    for (const CurveBucket& bucket : curve.buckets()) {
        const bool whole = bucket.count > 0 && bucket.missing == 0;
        mean.push_back(whole ? rounded(bucket.mean()) : Json());
        spread |= whole && bucket.count > 1;
    }
    Json data = {{"step", steps_json(curve)}, {"mean", std::move(mean)}};
    if (spread) {
        add_extremes(curve, "low", &CurveBucket::low, axis, data);
        add_extremes(curve, "high", &CurveBucket::high, axis, data);
    }
    return data;
}

Json layers_json(const RunData& run) {
    Json rows = Json::array(), fields = Json::object(), steps = Json::array();
    std::set<std::string> names;
    for (const auto& [sublayer, curves] : run.layers())
        for (const auto& [name, curve] : curves) {
            names.insert(name);
            if (curve.buckets().size() > steps.size()) steps = steps_json(curve);
        }
    for (const auto& [sublayer, curves] : run.layers()) {
        rows.push_back({{"layer", sublayer.layer}, {"sublayer", sublayer.name}});
        for (const std::string& name : names) {
            const auto found = curves.find(name);
            Json values = found == curves.end() ? Json() : Json::array();
            if (found != curves.end())
                for (const CurveBucket& bucket : found->second.buckets()) {
                    const double value = name.ends_with("_max")   ? bucket.high.value
                                         : name.ends_with("_min") ? bucket.low.value
                                                                  : bucket.mean();
                    values.push_back(bucket.count > 0 ? rounded(value, 4) : Json());
                }
            fields[name].push_back(std::move(values));
        }
    }
    return {{"step", std::move(steps)}, {"rows", std::move(rows)}, {"fields", std::move(fields)}};
}

} // namespace braid::report
