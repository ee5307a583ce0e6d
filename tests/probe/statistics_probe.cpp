// statistics_probe: one JSON object on standard input, its figures as JSON with 17 digits on standard output,
// for tests/ablation/reference_test.py. Either {"outcomes": [[number or null]], "reference", "matters",
// "alpha", "looks", "levels"} or {"queries": [["student_p", t, df], ...]}.

#include <cmath>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "ablation/statistics/analysis.h"
#include "ablation/statistics/distributions.h"
#include "base/enum_names.h"

namespace braid::testing {
namespace {

using nlohmann::json;

double query(const json& words) {
    const std::string name = words.at(0);
    const auto number = [&](size_t i) { // null stands for infinity
        return words.at(i).is_null() ? std::numeric_limits<double>::infinity() : words.at(i).get<double>();
    };
    if (name == "student_p") return student_p(number(1), number(2));
    if (name == "f_p") return f_p(number(1), number(2), number(3));
    if (name == "noncentral_t_power") return noncentral_t_power(number(1), number(2), number(3));
    if (name == "dunnett_p") return dunnett_p(number(1), words.at(2).get<std::vector<double>>(), number(3));
    return dunnett_critical(number(1), words.at(2).get<std::vector<double>>(), number(3));
}

json figures(const Difference& difference) {
    return {{"estimate", difference.estimate},
            {"low", difference.low},
            {"high", difference.high},
            {"p", difference.p}};
}

json judged(const json& request) {
    Outcomes outcomes;
    for (const json& row : request.at("outcomes")) {
        outcomes.emplace_back();
        for (const json& value : row)
            outcomes.back().push_back(value.is_null() ? std::nullopt : std::optional(value.get<double>()));
    }
    JudgeOptions options;
    options.reference = request.value("reference", size_t{0});
    options.matters = request.value("matters", 0.0);
    options.alpha = request.value("alpha", 0.05);
    options.looks = request.value("looks", int64_t{1});
    options.levels = request.value("levels", std::vector<std::vector<size_t>>());
    const Analysis analysis = judge(outcomes, options);
    json result = {{"differences", json::array()},
                   {"main_effects", json::array()},
                   {"interactions", json::array()},
                   {"notes", analysis.notes}};
    if (analysis.noise) {
        result["sd"] = analysis.noise->sd;
        result["df"] = analysis.noise->degrees_of_freedom;
        result["pooled"] = analysis.noise->method == IntervalMethod::pooled;
        result["pairing_correlation"] = analysis.noise->pairing_correlation;
        if (analysis.noise->equal_variances_p)
            result["equal_variances_p"] = *analysis.noise->equal_variances_p;
    }
    for (const auto& difference : analysis.differences)
        result["differences"].push_back(difference ? figures(*difference) : json());
    for (const MainEffect& effect : analysis.main_effects) {
        result["main_effects"].push_back(figures(effect.difference));
        result["main_effects"].back().update({{"axis", effect.axis}, {"level", effect.level}});
    }
    for (const Interaction& interaction : analysis.interactions)
        result["interactions"].push_back({{"axes", interaction.axes},
                                          {"f", interaction.f},
                                          {"p", interaction.p},
                                          {"df", interaction.degrees_of_freedom}});
    return result;
}

json answer(const json& request) {
    if (!request.contains("queries")) return judged(request);
    json answers = json::array();
    for (const json& words : request.at("queries")) answers.push_back(query(words));
    return answers;
}

} // namespace
} // namespace braid::testing

int main() {
    std::cout << braid::testing::answer(nlohmann::json::parse(std::cin)) << '\n';
    return 0;
}
