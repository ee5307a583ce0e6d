#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>

#include "ablation/report/report.h"
#include "trainer/config/run_schema.h"
#include "trainer/machine/build_info.h"
#include "trainer/run/run_record.h"

namespace braid::report {
namespace {

/// Six digits are more than a picture shows, and half of all digits' bytes; five of extremes.
double rounded(double value, int digits = 6) {
    if (!std::isfinite(value)) return value;
    char text[40];
    const auto [end, error] =
        std::to_chars(text, text + sizeof text, value, std::chars_format::general, digits);
    double result = value;
    std::from_chars(text, end, result);
    return result;
}

/// {"step", "mean"} and, where parts hold several values, {"low", "high"}; null where none was finite.
Json curve_json(const ThinCurve& curve) {
    Json step = Json::array(), mean = Json::array(), low = Json::array(), high = Json::array();
    bool spread = false;
    for (const CurveBucket& bucket : curve.buckets()) {
        step.push_back(bucket.step);
        if (bucket.count == 0 || bucket.missing > 0) {
            mean.push_back(nullptr), low.push_back(nullptr), high.push_back(nullptr);
            continue;
        }
        mean.push_back(rounded(bucket.mean())), low.push_back(rounded(bucket.low, 5));
        high.push_back(rounded(bucket.high, 5));
        spread |= bucket.count > 1;
    }
    Json curve_data = {{"step", std::move(step)}, {"mean", std::move(mean)}};
    if (spread) {
        curve_data["low"] = std::move(low);
        curve_data["high"] = std::move(high);
    }
    return curve_data;
}

Json highs(const ThinCurve& curve, int digits) {
    Json values = Json::array();
    for (const CurveBucket& bucket : curve.buckets())
        values.push_back(bucket.count > 0 ? Json(rounded(bucket.high, digits)) : Json());
    return values;
}

/// Rows of sublayers, columns of steps; a maximum is the largest of its part, a minimum the least, others are
/// means.
Json layers_json(const RunData& run) {
    Json rows = Json::array(), fields = Json::object(), steps = Json::array();
    std::set<std::string> names;
    for (const auto& [sublayer, curves] : run.layers())
        for (const auto& [name, curve] : curves) {
            names.insert(name);
            if (curve.buckets().size() <= steps.size()) continue;
            steps = Json::array();
            for (const CurveBucket& bucket : curve.buckets()) steps.push_back(bucket.step);
        }
    for (const auto& [sublayer, curves] : run.layers()) {
        rows.push_back({{"layer", sublayer.layer}, {"sublayer", sublayer.name}});
        for (const std::string& name : names) {
            const auto found = curves.find(name);
            Json values = found == curves.end() ? Json() : Json::array();
            if (found != curves.end())
                for (const CurveBucket& bucket : found->second.buckets()) {
                    const double value = name.ends_with("_max")   ? bucket.high
                                         : name.ends_with("_min") ? bucket.low
                                                                  : bucket.mean();
                    values.push_back(bucket.count > 0 ? Json(rounded(value, 4)) : Json());
                }
            fields[name].push_back(std::move(values));
        }
    }
    return {{"step", std::move(steps)}, {"rows", std::move(rows)}, {"fields", std::move(fields)}};
}

double number_of(const Json& object, const char* key) {
    return object.is_object() && object.contains(key) && object[key].is_number() ? object[key].get<double>()
                                                                                 : 0;
}

/// Model FLOPs per token as trained, else as the config says; 0 where neither is known.
double flops_per_token(const RunData& run) {
    double flops = 0, tokens = 0;
    if (run.record().is_object())
        for (const Json& start : run.record()["starts"]) {
            flops += number_of(start, "flops");
            tokens += number_of(start, "tokens");
        }
    if (flops > 0 && tokens > 0) return flops / tokens;
    return run.size() ? run.size()->flops_per_token : 0;
}

Json final_json(const RunData& run) {
    Json final = Json::object();
    for (const auto& [name, curve] : run.curves()) {
        // A run that diverged has no final loss.
        if (!curve.buckets().empty() && curve.buckets().back().missing > 0)
            final[name] = nullptr;
        else if (curve.last())
            final[name] = *curve.last();
    }
    return final;
}

/// All that changes the numbers but the seeds: runs with the same text are of one group.
std::string group_of(const RunData& run) {
    std::string text;
    for (const auto& [key, value] : run.config()) {
        if (key == "seed" || key == "data.seed" || key == "name" || key == "run_dir") continue;
        const KeyDoc* const doc = run_docs().find(key);
        if (!doc || doc->changes_numbers) text += key + ": " + value + "\n";
    }
    return text;
}

Json run_json(const RunData& run) {
    const Json& record = run.record();
    const double flops = flops_per_token(run);
    double ranks = 1;
    if (record.is_object() && !record["starts"].empty())
        ranks = std::max(1.0, number_of(record["starts"].back(), "ranks"));
    const double hours = record.is_object() ? number_of(record, "hours") : run.hours().last().value_or(0);
    Json data = {{"name", run.name()},
                 {"folder", run.folder()},
                 {"id", std::filesystem::path(run.folder()).lexically_normal().filename().string()},
                 {"status", to_string(run.status())},
                 {"notes", run.notes()},
                 {"seed", run.config_value("seed")},
                 {"step", run.step()},
                 {"tokens", run.tokens().last().value_or(0)},
                 {"flops", run.tokens().last().value_or(0) * flops},
                 {"hours", hours},
                 {"rank_hours", hours * ranks},
                 {"ranks", ranks}};
    if (run.size()) {
        data["total_parameters"] = run.size()->total_parameters;
        data["active_parameters"] = run.size()->active_parameters;
    }
    data["flops_per_token"] = flops;
    data["final"] = final_json(run);
    data["axis"] = {{"tokens", curve_json(run.tokens())["step"]},
                    {"tokens_at", highs(run.tokens(), 9)},
                    {"hours", curve_json(run.hours())["step"]},
                    {"hours_at", highs(run.hours(), 6)}};
    data["curves"] = Json::object();
    for (const auto& [name, curve] : run.curves()) data["curves"][name] = curve_json(curve);
    if (!run.layers().empty()) data["layers"] = layers_json(run);
    data["samples"] = run.samples();
    data["data"] = run.data();
    data["starts"] = record.is_object() ? record["starts"] : Json::array();
    return data;
}

/// The keys of which runs have different values, with the value of each run.
Json differences_json(const Report& report) {
    std::vector<std::string> order;
    std::map<std::string, std::vector<std::string>> values;
    const auto& runs = report.runs();
    for (size_t i = 0; i < runs.size(); ++i)
        for (const auto& [key, value] : runs[i]->config()) {
            auto [found, added] = values.try_emplace(key, runs.size(), ConfigDifference::kAbsent);
            if (added) order.push_back(key);
            found->second[i] = value;
        }
    Json differences = Json::array();
    for (const std::string& key : order) {
        const std::vector<std::string>& of_runs = values[key];
        if (std::adjacent_find(of_runs.begin(), of_runs.end(), std::not_equal_to<>()) == of_runs.end())
            continue;
        const KeyDoc* const doc = run_docs().find(key);
        differences.push_back(
            {{"key", key}, {"changes_numbers", !doc || doc->changes_numbers}, {"values", of_runs}});
    }
    return differences;
}

/// What says that the runs learned from, or were judged on, different text.
Json warnings_json(const Report& report, const Json& differences) {
    Json warnings = Json::array();
    const auto warn = [&](const std::string& what) {
        warnings.push_back("These runs differ in their data (" + what +
                           "): their losses may not be comparable.");
    };
    for (const Json& difference : differences) {
        const std::string key = difference["key"];
        if (key.starts_with("data.train") || key.starts_with("data.validation") || key == "model.vocab_size")
            warn(key);
    }
    std::map<std::string, std::set<std::string>> prints;
    for (const auto& run : report.runs())
        for (const auto& [key, value] : run->data())
            if (key.starts_with("source/") || key.starts_with("tokenizer/")) prints[key].insert(value);
    for (const auto& [key, values] : prints)
        if (values.size() > 1) warn("fingerprint " + key);
    return warnings;
}

} // namespace

Json to_json(const Report& report, int64_t follow) {
    const BuildInfo& build = build_info();
    Json data = {{"format", 1},
                 {"made", utc_time()},
                 {"braid", {{"version", build.version}, {"commit", build.commit}}},
                 {"follow", follow},
                 {"sweep", report.sweep()},
                 {"verdict", report.verdict()}};
    std::map<std::string, size_t> groups;
    data["groups"] = Json::array();
    data["runs"] = Json::array();
    for (size_t i = 0; i < report.runs().size(); ++i) {
        const RunData& run = *report.runs()[i];
        const auto [group, added] = groups.try_emplace(group_of(run), groups.size());
        if (added) data["groups"].push_back({{"label", run.name()}, {"runs", Json::array()}});
        data["groups"][group->second]["runs"].push_back(i);
        Json one = run_json(run);
        one["group"] = group->second;
        data["runs"].push_back(std::move(one));
    }
    data["differences"] = differences_json(report);
    data["warnings"] = warnings_json(report, data["differences"]);
    return data;
}

std::string to_script_text(const Json& value) {
    std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace), safe;
    safe.reserve(text.size() + 64);
    // In JSON these stand only inside strings, where an escape means the same.
    for (const char c : text) {
        if (c == '<')
            safe += "\\u003c";
        else if (c == '>')
            safe += "\\u003e";
        else if (c == '&')
            safe += "\\u0026";
        else
            safe += c;
    }
    return safe;
}

} // namespace braid::report
