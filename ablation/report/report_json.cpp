#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "ablation/report/cost.h"
#include "ablation/report/curve_json.h"
#include "ablation/report/report.h"
#include "ablation/report/thin_layers.h"
#include "trainer/config/run_schema.h"
#include "trainer/machine/build_info.h"
#include "trainer/run/run_record.h"

namespace braid::report {
namespace {

constexpr size_t kMostSampledRuns = 8;

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

/// {"step", "prompt", "text"} of the last steps, newest first.
Json samples_json(const SampleTexts& samples) {
    Json all = Json::array();
    for (auto step = samples.by_step.rbegin(); step != samples.by_step.rend(); ++step)
        for (const SampleText& sample : step->second)
            all.push_back({{"step", step->first}, {"prompt", sample.prompt}, {"text", sample.text}});
    return all;
}

/// Of the first kMostSampledRuns runs that have some, with notes of what is left out.
void add_samples(const Report& report, Json& data) {
    Json notes = Json::array();
    size_t shown = 0, left_out = 0;
    for (size_t i = 0; i < report.runs().size(); ++i) {
        const SampleTexts& samples = report.runs()[i]->samples();
        Json& run = data["runs"][i];
        run["samples"] = Json::array();
        if (samples.by_step.empty()) continue;
        if (shown == kMostSampledRuns) {
            ++left_out;
            continue;
        }
        ++shown;
        run["samples"] = samples_json(samples);
        if (samples.steps_left_out > 0)
            notes.push_back(fmt::format("{}: samples of {} earlier step(s) are left out",
                                        run["name"].get<std::string>(), samples.steps_left_out));
        if (samples.texts_cut > 0)
            notes.push_back(fmt::format("{}: {} sample(s) are cut at {} bytes",
                                        run["name"].get<std::string>(), samples.texts_cut,
                                        SampleTexts::kMostBytes));
    }
    if (left_out > 0) notes.push_back(fmt::format("samples of {} further run(s) are left out", left_out));
    data["sample_notes"] = std::move(notes);
}

Json run_json(const RunData& run, double price) {
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
                 {"ranks", ranks}};
    data.update(cost_of(rank_hours(run), price));
    if (run.size()) {
        data["total_parameters"] = run.size()->total_parameters;
        data["active_parameters"] = run.size()->active_parameters;
    }
    data["flops_per_token"] = flops;
    data["final"] = final_json(run);
    data["axis"] = axis_json(run);
    const TokenAxis axis(data["axis"]);
    data["curves"] = Json::object();
    for (const auto& [name, curve] : run.curves()) data["curves"][name] = curve_json(curve, axis);
    if (!run.layers().empty()) data["layers"] = layers_json(run);
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

Json to_json(const Report& report, const PageOptions& options) {
    const BuildInfo& build = build_info();
    Json data = {{"format", 1},
                 {"made", utc_time()},
                 {"braid", {{"version", build.version}, {"commit", build.commit}}},
                 {"follow", options.follow},
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
        Json one = run_json(run, options.price);
        one["group"] = group->second;
        data["runs"].push_back(std::move(one));
    }
    data["differences"] = differences_json(report);
    data["warnings"] = warnings_json(report, data["differences"]);
    data["cost"] = cost_json(report, data, options.price);
    add_samples(report, data);
    data["thinned"] = thin_layers(data, options.most_bytes);
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
