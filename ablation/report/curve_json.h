#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "ablation/report/thin_curve.h"

namespace braid::report {

using Json = nlohmann::ordered_json;
class RunData;

/// The number at a key; 0 where there is none.
double number_of(const Json& object, const char* key);
/// A number of few digits: six are more than a picture shows, and half of all digits' bytes.
Json rounded(double value, int digits = 6);
/// Steps and tokens of a run: {"tokens", "tokens_at", "hours", "hours_at"}.
Json axis_json(const RunData& run);

/// What is read off a run's axis as tokens at a step: straight lines between its points, the first from 0.
class TokenAxis {
  public:
    explicit TokenAxis(const Json& axis);
    double at(double step) const;

  private:
    std::vector<double> steps_, tokens_;
};

/// {"step", "mean"} and, where parts hold several values, {"low", "high", "low_step", "high_step"}; null
/// where not all were finite. Where the straight lines of `axis` miss the tokens of an extreme, "low_tokens"
/// and "high_tokens" hold them.
Json curve_json(const ThinCurve& curve, const TokenAxis& axis);
/// Rows of sublayers, columns of steps; a maximum is the largest of its part, a minimum the least, others are
/// means.
Json layers_json(const RunData& run);

} // namespace braid::report
