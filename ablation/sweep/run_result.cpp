#include "ablation/sweep/run_result.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/error.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/run/run_folder.h"

namespace braid {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxRecordBytes = int64_t{1} << 26;

struct Measured {
    std::vector<std::pair<int64_t, double>> curve; // step and value, where that is a number
    bool found = false, last_is_number = false;
};

/// All values of a metric. Only lines that name it are parsed; a torn last line is none.
Measured read_metric(const std::string& folder, const std::string& metric) {
    Measured result;
    std::ifstream file(folder + "/metrics.jsonl");
    const std::string name = '"' + metric + '"';
    for (std::string line; std::getline(file, line);) {
        if (line.find(name) == std::string::npos) continue;
        const Json object = Json::parse(line, nullptr, false);
        if (!object.is_object() || !object.contains(metric) || !object.contains("step") ||
            !object["step"].is_number_integer())
            continue;
        const Json& value = object[metric];
        result.found = true;
        result.last_is_number = value.is_number() && std::isfinite(value.get<double>());
        if (result.last_is_number)
            result.curve.emplace_back(object["step"].get<int64_t>(), value.get<double>());
    }
    return result;
}

Measured read_metric(const std::string& folder, const std::string& metric, const TrunkPart& trunk) {
    Measured result = read_metric(folder, metric);
    if (trunk.folder.empty()) return result;
    std::vector<std::pair<int64_t, double>> curve = read_metric(trunk.folder, metric).curve;
    std::erase_if(curve, [&](const auto& point) { return point.first > trunk.step; });
    curve.insert(curve.end(), result.curve.begin(), result.curve.end());
    result.curve = std::move(curve);
    return result;
}

/// The outcome that a curve tells; none where it has no number, or `last` is none.
std::optional<double> outcome_of(const Measured& measured, OutcomeAt at) {
    if (measured.curve.empty() || (at == OutcomeAt::last && !measured.last_is_number)) return std::nullopt;
    if (at == OutcomeAt::last) return measured.curve.back().second;
    double best = measured.curve[0].second;
    for (const auto& [step, value] : measured.curve) best = std::min(best, value);
    return best;
}

template <typename T>
T number(const Json& record, const char* key, const std::string& path) {
    const auto found = record.find(key);
    if (found == record.end() || !found->is_number())
        throw ConfigError("{}: {}: expected a number, found {}", path, key,
                          found == record.end() ? "nothing" : found->dump());
    return found->get<T>();
}

} // namespace

namespace {

/// What run.json says, but for the outcome of a run that came to its end: that is left `unfinished` with exit
/// code 0.
RunResult read_record(const std::string& folder) {
    const std::string path = folder + "/run.json";
    RunResult result;
    if (!std::filesystem::exists(path)) return result;
    const Json record = Json::parse(read_whole_file(path, kMaxRecordBytes, ExitCode::usage), nullptr, false);
    if (!record.is_object()) throw ConfigError("{}: expected a run record, found another text", path);
    result.step = number<int64_t>(record, "step", path);
    result.tokens = number<int64_t>(record, "tokens", path);
    result.flops = number<double>(record, "flops", path);
    result.hours = number<double>(record, "hours", path);
    result.state = RunState::unfinished;
    if (!record.contains("exit_code")) return result;
    result.exit_code = number<int>(record, "exit_code", path);
    if (result.exit_code == static_cast<int>(ExitCode::non_finite))
        result.state = RunState::diverged;
    else if (result.exit_code == 0)
        result.came_to_end = true;
    else if (result.exit_code != static_cast<int>(ExitCode::stopped))
        result.state = RunState::failed;
    return result;
}

} // namespace

RunResult read_run_result(const std::string& folder, const OutcomeConfig& outcome, int64_t steps,
                          const TrunkPart& trunk) {
    RunResult result = read_record(folder);
    if (!result.came_to_end) return result;
    if (result.step < steps) return result; // it was told to stop earlier
    const Measured measured = read_metric(folder, outcome.metric, trunk);
    if (!measured.found)
        throw ConfigError("{}/metrics.jsonl: expected {}, which the sweep is judged by, found none of it",
                          folder, outcome.metric);
    result.outcome = outcome_of(measured, outcome.at);
    result.state = result.outcome ? RunState::ended : RunState::diverged;
    return result;
}

RunResult read_trunk_result(const std::string& folder, int64_t stop_at) {
    RunResult result = read_record(folder);
    // It may be at work for others, or have diverged, behind this step.
    const std::string saved = fmt::format("{}/{}/{}", folder, kCheckpointsFolder, checkpoint_name(stop_at));
    if (std::filesystem::exists(saved)) result.state = RunState::ended;
    return result;
}

std::vector<std::pair<int64_t, double>> metric_curve(const std::string& folder, const std::string& metric,
                                                     const TrunkPart& trunk) {
    return read_metric(folder, metric, trunk).curve;
}

std::optional<double> last_metric(const std::string& folder, const std::string& metric) {
    const auto curve = metric_curve(folder, metric);
    return curve.empty() ? std::optional<double>() : curve.back().second;
}

} // namespace braid
