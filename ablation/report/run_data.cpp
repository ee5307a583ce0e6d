#include "ablation/report/run_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "ablation/plan/model_size.h"
#include "ablation/report/curve_json.h"
#include "base/atomic_file.h"
#include "base/error.h"
#include "base/yaml_document.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_manifest.h"
#include "trainer/config/run_config.h"

namespace braid::report {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxBytes = int64_t{1} << 26;
// A run without an end that has not written for so long was killed, or waits for something.
constexpr std::chrono::minutes kQuiet{10};

void flatten(const YamlNode& node, const std::string& path,
             std::vector<std::pair<std::string, std::string>>& out) {
    const auto scalar = [](const YamlNode& item) { return item.is_scalar() || item.is_null(); };
    if (scalar(node) || (node.is_list() && std::all_of(node.items.begin(), node.items.end(), scalar))) {
        out.emplace_back(path, node.is_null() ? "null" : to_flow_yaml(node));
        return;
    }
    for (size_t i = 0; i < node.items.size(); ++i)
        flatten(node.items[i], path + "." + std::to_string(i), out);
    for (const YamlEntry& entry : node.entries)
        flatten(entry.value, path.empty() ? entry.key : path + "." + entry.key, out);
}

std::string state_of(const std::string& folder) {
    std::string state;
    for (const char* name : {"config.yaml", "run.json", "metrics.jsonl", "layers.jsonl", "samples.jsonl"}) {
        std::error_code missing;
        const fs::path path = fs::path(folder) / name;
        const auto size = fs::file_size(path, missing);
        const auto time = fs::last_write_time(path, missing).time_since_epoch().count();
        state += missing ? "-;" : fmt::format("{},{};", size, time);
    }
    return state;
}

/// Whether a field is shown as finely as losses are.
bool is_main(std::string_view field) {
    return field == "loss" || field == "grad_norm" || field == "eval_loss" || field.starts_with("eval/") ||
           field.starts_with("task/");
}

} // namespace

const char* to_string(RunStatus status) {
    constexpr const char* kNames[] = {"running", "ended", "stopped", "failed", "no end recorded"};
    return kNames[static_cast<size_t>(status)];
}

void RunData::expect_run_folder(const std::string& folder) {
    if (!fs::is_directory(folder)) throw ConfigError("{}: expected a run folder, found none", folder);
    if (!fs::exists(folder + "/config.yaml"))
        throw ConfigError(
            "{}: expected a run folder or a sweep, found a folder without config.yaml and sweep.yaml",
            folder);
}

RunData::RunData(std::string folder, Detail detail)
    : folder_(std::move(folder)),
      detail_(detail),
      metrics_(folder_ + "/metrics.jsonl"),
      layer_lines_(folder_ + "/layers.jsonl") {
    expect_run_folder(folder_);
    forget_lines();
    update();
}

std::string RunData::config_value(const std::string& key) const {
    const auto found =
        std::find_if(config_.begin(), config_.end(), [&](const auto& pair) { return pair.first == key; });
    return found == config_.end() ? "" : found->second;
}

bool RunData::update() {
    const std::string state = state_of(folder_);
    if (state == state_) return false;
    state_ = state;
    notes_.clear();
    read_config();
    read_record();
    read_metrics();
    read_layers();
    read_extras();
    return true;
}

void RunData::read_config() {
    const std::string path = folder_ + "/config.yaml";
    try {
        const std::string text = read_whole_file(path, kMaxYamlBytes, ExitCode::data);
        std::vector<std::pair<std::string, std::string>> values;
        flatten(parse_yaml(text, path), "", values);
        if (values == config_) return;
        config_ = std::move(values);
        try {
            const RunConfig run = parse_stored_config(text, path);
            name_ = run.name;
            size_ = model_size(run);
        } catch (const Error&) {
            // Written by another version: its numbers are shown all the same.
        }
    } catch (const ConfigError& error) {
        throw DataError("{}", error.what());
    }
    if (name_.empty()) name_ = fs::path(folder_).lexically_normal().filename().string();
    if (name_.empty()) name_ = folder_;
}

void RunData::read_record() {
    const std::string path = folder_ + "/run.json";
    status_ = RunStatus::no_end;
    record_ = nullptr;
    starts_.clear();
    if (!fs::exists(path)) {
        notes_.push_back("no run.json: hours, FLOPs and provenance are not known");
        return;
    }
    record_ = Json::parse(read_whole_file(path, kMaxBytes, ExitCode::data), nullptr, false);
    if (!record_.is_object() || !record_.contains("starts") || !record_["starts"].is_array())
        throw DataError("{}: expected a run record with \"starts\", found another text", path);
    for (const Json& start : record_["starts"])
        starts_.emplace_back(number_of(start, "first_step"), std::max(1.0, number_of(start, "ranks")));
    if (record_.contains("exit_code") && record_["exit_code"].is_number_integer()) {
        const int code = record_["exit_code"];
        status_ = code == 0 ? RunStatus::ended : code == 75 ? RunStatus::stopped : RunStatus::failed;
        if (status_ == RunStatus::failed) notes_.push_back(fmt::format("ended with exit code {}", code));
        return;
    }
    std::error_code missing;
    auto newest = fs::last_write_time(path, missing);
    if (fs::exists(metrics_.path())) newest = std::max(newest, fs::last_write_time(metrics_.path(), missing));
    if (fs::file_time_type::clock::now() - newest < kQuiet)
        status_ = RunStatus::running;
    else
        notes_.push_back("no end is recorded and nothing was written for ten minutes: killed, or stuck");
}

void RunData::forget_lines() {
    curves_.clear();
    layers_.clear();
    tokens_ = ThinCurve(detail_.main_buckets);
    hours_ = ThinCurve(detail_.main_buckets);
    step_ = 0;
    seconds_ = rank_seconds_ = 0;
}

double RunData::ranks_at(int64_t step) const {
    double ranks = 1;
    // A start that went on from an earlier step made that step again.
    for (const auto& [first_step, of_start] : starts_)
        if (first_step <= static_cast<double>(step)) ranks = of_start;
    return ranks;
}

void RunData::take_metrics(std::string_view line, int64_t number) {
    int64_t step = -1;
    double tokens = -1, step_seconds = 0;
    line_.clear();
    const bool good = scan_json_line(
        line,
        [&](std::string_view key, double value) {
            if (key == "step")
                step = value >= 0 && value < 1e15 ? static_cast<int64_t>(value) : -1;
            else if (key == "tokens")
                tokens = value >= 0 ? value : -1;
            else
                line_.emplace_back(key, value);
        },
        [](std::string_view, std::string_view) {});
    if (!good || step < 0)
        throw DataError("{}:{}: expected a JSON object with \"step\", found {:.60}", metrics_.path(), number,
                        line);
    for (const auto& [key, value] : line_) {
        if (key == "step_seconds") step_seconds = value;
        const size_t buckets = is_main(key) ? detail_.main_buckets : detail_.buckets;
        auto found = curves_.find(key);
        if (found == curves_.end()) found = curves_.emplace(key, ThinCurve(buckets)).first;
        found->second.add(step, value, tokens);
    }
    if (tokens >= 0) tokens_.add(step, tokens);
    if (step_seconds > 0) {
        // Steps between two lines are taken to last as long as the later one's.
        const double seconds = step_seconds * static_cast<double>(std::max<int64_t>(step - step_, 1));
        seconds_ += seconds;
        rank_seconds_ += seconds * ranks_at(step);
    }
    hours_.add(step, seconds_ / 3600);
    step_ = step;
}

/// The steps of a sweep's trunk that this run goes on from, so that its curves are whole. They cost the
/// trunk.
void RunData::read_trunk() {
    const std::string written = config_value("start.from");
    if (written.empty()) return;
    const fs::path from = parse_yaml(written, "start.from").scalar;
    const fs::path trunk = from.parent_path().parent_path(); // of TRUNK/checkpoints/step-N
    if (trunk.parent_path().filename() != "trunk") return;
    const auto branch = static_cast<double>(step_of_checkpoint(from.filename().string()).value_or(-1));
    // Beside runs/ and tune/, wherever the sweep lies now.
    const fs::path beside = fs::path(folder_).lexically_normal().parent_path().parent_path();
    LineReader lines((beside / "trunk" / trunk.filename() / "metrics.jsonl").string());
    lines.read([&](std::string_view line, int64_t number) {
        double step = 0;
        scan_json_line(
            line, [&](std::string_view key, double value) { step = key == "step" ? value : step; },
            [](std::string_view, std::string_view) {});
        if (step <= branch) take_metrics(line, number);
    });
    rank_seconds_ = 0;
}

void RunData::read_metrics() {
    const auto take = [&](std::string_view line, int64_t number) { take_metrics(line, number); };
    if (curves_.empty()) read_trunk();
    while (!metrics_.read(take)) {
        forget_lines();
        read_trunk();
        layer_lines_ = LineReader(folder_ + "/layers.jsonl");
    }
    if (curves_.empty()) notes_.push_back("metrics.jsonl has no lines yet");
    if (metrics_.torn() && status_ != RunStatus::running)
        notes_.push_back("the torn last line of metrics.jsonl is left out");
    const auto loss = curves_.find("loss");
    if (loss != curves_.end() && loss->second.first_missing())
        notes_.push_back(
            fmt::format("diverged: the loss is not finite at step {}", *loss->second.first_missing()));
}

void RunData::read_layers() {
    if (detail_.layer_buckets == 0) return;
    const auto take = [&](std::string_view line, int64_t number) {
        int64_t step = -1, layer = -1;
        std::string name;
        std::vector<std::pair<std::string, double>> values;
        const bool good = scan_json_line(
            line,
            [&](std::string_view key, double value) {
                if (key == "step")
                    step = static_cast<int64_t>(value);
                else if (key == "layer")
                    layer = static_cast<int64_t>(value);
                else
                    values.emplace_back(key, value);
            },
            [&](std::string_view key, std::string_view value) {
                if (key == "sublayer") name = value;
            });
        if (!good || step < 0 || layer < 0 || name.empty())
            throw DataError("{}:{}: expected an object with step, layer and sublayer, found {:.60}",
                            layer_lines_.path(), number, line);
        auto& fields = layers_[{layer, name}];
        for (const auto& [key, value] : values)
            fields.try_emplace(key, ThinCurve(detail_.layer_buckets)).first->second.add(step, value);
    };
    while (!layer_lines_.read(take)) layers_.clear();
}

void RunData::read_extras() {
    std::error_code missing;
    int64_t parts = 0;
    for (const auto& entry : fs::directory_iterator(folder_ + "/superseded", missing))
        parts += entry.is_directory();
    if (parts > 0) notes_.push_back(fmt::format("{} superseded part(s) of the run are not shown", parts));
    samples_ = read_samples(folder_ + "/samples.jsonl");
    try {
        const auto found = list_checkpoints(folder_ + "/checkpoints");
        if (found.empty() || !data_.empty()) return;
        const std::string path = found[0].path + "/" + Manifest::kFileName;
        data_ = parse_manifest(read_whole_file(path, Manifest::kMaxBytes, ExitCode::checkpoint), path)
                    .training.data;
    } catch (const Error&) {
        // Fingerprints are told where they can be had; `braid checkpoint verify` is for the rest.
    }
}

} // namespace braid::report
