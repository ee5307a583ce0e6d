#include "trainer/run/replay.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_manifest.h"
#include "trainer/machine/gemm_rate.h"
#include "trainer/run/lone_work.h"
#include "trainer/run/report.h"
#include "trainer/run/run_folder.h"
#include "trainer/run/run_record.h"
#include "trainer/start/start.h"
#include "trainer/training/trainer.h"

namespace braid {
namespace {

/// Where to begin: a checkpoint of the run, its parent's, or nothing for its step 0.
ResumePoint find_beginning(const ReplayRequest& request, const std::function<void()>& tick) {
    const auto too_late = [&](const Manifest& manifest, const std::string&) {
        if (manifest.training.step >= request.step)
            throw CheckpointError("step {} lies behind the one to replay", manifest.training.step);
    };
    const LatestCheckpoint found =
        find_latest_checkpoint(request.run_folder + "/" + kCheckpointsFolder, too_late, tick);
    if (!found.path.empty()) return {found.path, found.step, fmt::format("from {}", found.path)};
    if (request.config.start.from.empty()) return {"", 0, "from step 0: no checkpoint lies before"};
    return find_parent(request.config, recorded_parent(request.run_folder, request.config.start), tick);
}

/// The line that the run wrote of a step, where it wrote one.
std::optional<nlohmann::json> recorded_line(const std::string& folder, int64_t step) {
    std::ifstream file(folder + "/metrics.jsonl");
    const std::string start = fmt::format("{{\"step\":{},", step);
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with(start)) continue;
        nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
        if (object.is_object()) return object;
    }
    return std::nullopt;
}

/// "loss 2.5 and grad_norm 0.3 as recorded, bit for bit", or what differs.
std::string compared(const std::string& folder, const StepMetrics& metrics) {
    const auto recorded = recorded_line(folder, metrics.step);
    if (!recorded) return fmt::format("step {}: metrics.jsonl has no line of it", metrics.step);
    const nlohmann::json now = nlohmann::json::parse(to_json_line(metrics));
    std::string differing;
    for (const char* key : {"loss", "grad_norm", "lr", "tokens"})
        if (recorded->value(key, nlohmann::json()) != now.value(key, nlohmann::json()))
            differing += fmt::format("{}{}: {} here, {} recorded", differing.empty() ? "" : "; ", key,
                                     now.value(key, nlohmann::json()).dump(),
                                     recorded->value(key, nlohmann::json()).dump());
    return differing.empty()
               ? fmt::format("step {}: loss, gradient norm, rate and tokens as recorded, bit for bit",
                             metrics.step)
               : fmt::format("step {}: {}", metrics.step, differing);
}

} // namespace

RunConfig read_folder_config(const std::string& folder, const std::vector<std::string>& overrides) {
    const std::optional<std::string> text = read_stored_config(folder);
    if (!text) throw ConfigError("{}: expected a run folder with config.yaml, found none", folder);
    const std::string path = folder + "/config.yaml";
    const RunConfig stored = parse_stored_config(*text, path); // opens no other file, whatever it says
    return overrides.empty() ? stored : parse_run_config(*text, path, overrides);
}

void replay(const ReplayRequest& request, Communicator& world) {
    const RunConfig& config = request.config;
    agree(world, [&] {
        if (request.step > config.train.steps)
            throw ConfigError("--step {}: the run has {} steps", request.step, config.train.steps);
    });
    ResumePoint beginning;
    const std::string where =
        from_rank_0(world, sign_of_life_interval(config.parallel.watchdog_seconds), [&](const auto& tick) {
            const ResumePoint found = find_beginning(request, tick);
            return fmt::format("{}\n{}\n{}", found.start ? "start" : "resume", found.checkpoint,
                               found.message);
        });
    const size_t first = where.find('\n'), second = where.find('\n', first + 1);
    const bool starts = where.substr(0, first) == "start", is_first = world.rank() == 0;
    const std::string checkpoint = where.substr(first + 1, second - first - 1);
    if (is_first) request.notice(where.substr(second + 1));

    Trainer trainer(config, world, request.node_size, request.compute);
    if (starts)
        trainer.start_from(checkpoint);
    else if (!checkpoint.empty())
        trainer.load(checkpoint);
    double rate = gemm_rate(config.train.precision, request.compute);
    all_reduce_sum(world, std::span(&rate, 1));
    while (trainer.steps_done() < request.step) {
        const bool is_last = trainer.steps_done() + 1 == request.step;
        const StepReport report = trainer.step(is_last, nullptr, request.stop_requested);
        agree(world, [&] {
            if (!is_first) return;
            const StepMetrics metrics = step_metrics(trainer, report, rate);
            request.print(to_json_line(metrics));
            if (!is_last) return;
            for (const LayerMetrics& layer : layer_metrics(trainer, report))
                request.print(to_json_line(layer));
            request.notice(compared(request.run_folder, metrics));
        });
    }
}

} // namespace braid
