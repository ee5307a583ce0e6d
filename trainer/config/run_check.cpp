#include "trainer/config/run_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

#include "data/loader.h"
#include "layers/feed_forward/moe_config.h"
#include "layers/model/model.h"
#include "optim/groups.h"
#include "trainer/config/run_layout.h"

namespace braid {
namespace {

void append(std::vector<std::string>& to, std::vector<std::string> more) {
    std::move(more.begin(), more.end(), std::back_inserter(to));
}

/// Of the keys that select parameters.
std::vector<std::string> faults_of_selections(const RunConfig& run) {
    if (run.optimizer.groups.empty() && run.train.freeze.empty()) return {};
    ParameterStore store;
    const Model model(run.model, store);
    std::vector<std::string> faults = group_faults(run.optimizer, store);
    for (const std::string& glob : store.freeze(run.train.freeze))
        faults.push_back(fmt::format(
            "train.freeze: '{}' matches no parameter of this model (`braid config show --tensors` "
            "lists their names)",
            glob));
    return faults;
}

// Of a task: where documents begin in a batch are numbers of 32 bits.
constexpr int64_t kMostBatchTokens = int64_t{1} << 24;

/// Of the files of eval.tasks, as far as the training data say which tokenizer they get.
std::vector<std::string> faults_of_tasks(const RunConfig& run) {
    std::vector<std::string> faults;
    if (run.eval.tasks.empty() && run.eval.prompts.empty()) return faults;
    std::unique_ptr<Tokenizer> tokenizer;
    const auto note = [&](const std::string& key, const auto& body) {
        try {
            body();
        } catch (const Error& error) {
            faults.push_back(key + ": " + error.what());
        }
    };
    try {
        const TokenFile file(run.data.train.at(0).path);
        note("eval", [&] { tokenizer = make_tokenizer(file.summary().tokenizer); });
    } catch (const Error&) { // which data_faults tells
    }
    if (!tokenizer) return faults;
    for (const auto& [name, task] : run.eval.tasks)
        note("eval.tasks." + name, [&] { TaskSet(task.path, *tokenizer, task_options(run, task)); });
    return faults;
}

} // namespace

TaskSet::Options task_options(const RunConfig& run, const TaskConfig& task) {
    return {.items = task.items,
            .length = run.train.sequence_length,
            .batch_tokens = std::min(run.train.micro_batch * run.train.sequence_length, kMostBatchTokens),
            .vocab_size = run.model.vocab_size};
}

std::string RunFaults::text() const {
    return fmt::format("{}{}{}", fmt::join(config, "\n"), config.empty() || data.empty() ? "" : "\n",
                       fmt::join(data, "\n"));
}

void RunFaults::raise() const {
    if (empty()) return;
    if (exit_code() == ExitCode::data) throw DataError("{}", text());
    throw ConfigError("{}", text());
}

RunFaults find_run_faults(const RunConfig& run, int num_ranks, const RunParts& parts) {
    RunFaults faults;
    if (parts.layout) append(faults.config, layout_faults(run, num_ranks));
    if (parts.groups) append(faults.config, faults_of_selections(run));
    if (parts.data) {
        append(faults.data, data_faults(run.data, {.sequence_length = run.train.sequence_length,
                                                   .vocab_size = run.model.vocab_size}));
        append(faults.data, faults_of_tasks(run));
    }
    return faults;
}

RunFaults find_file_faults(const RunReading& reading, int num_ranks, bool with_data) {
    const auto& sound = reading.sound;
    RunConfig run = reading.run;
    // A token file can be looked at without the sizes it is held against.
    if (!sound.train) run.train.sequence_length = 1;
    if (!sound.model) run.model.vocab_size = std::numeric_limits<int64_t>::max();
    if (!sound.train || !sound.model) run.eval.tasks.clear();
    const int64_t ranks = num_ranks > 0 ? num_ranks : sound.parallel ? fewest_ranks(run.parallel) : 1;
    const bool countable = ranks <= kMostRanks;
    RunFaults faults = find_run_faults(run, static_cast<int>(std::min(ranks, kMostRanks)),
                                       {.layout = countable && sound.model && sound.parallel && sound.train,
                                        .groups = sound.model && sound.optimizer,
                                        .data = with_data && sound.data});
    if (!countable)
        faults.config.insert(
            faults.config.begin(),
            fmt::format("parallel: expected sizes that {} ranks can have, found {} ranks at least",
                        kMostRanks, ranks));
    if (!reading.faults.empty()) faults.config.insert(faults.config.begin(), reading.faults);
    return faults;
}

void expect_run_starts(const RunConfig& run, int num_ranks) {
    RunFaults faults = find_run_faults(run, num_ranks, {.data = false});
    if (faults.empty()) return;
    append(faults.data, find_run_faults(run, num_ranks, {.layout = false, .groups = false}).data);
    faults.raise();
}

int64_t fewest_ranks(const ParallelConfig& parallel) {
    return parallel.data > 0 ? parallel.data * asked_ranks(parallel, false)
                             : std::lcm(asked_ranks(parallel, false), asked_ranks(parallel, true));
}

std::vector<std::string> run_warnings(const RunConfig& run) {
    std::vector<std::string> warnings;
    std::set<std::string> seen;
    for (const LayerConfig& layer : expand_layers(run.model))
        for (const ResolvedSublayer& sublayer : layer.sublayers) {
            const auto* moe = sublayer.config.kind.get_if<MoeConfig>();
            // Among one expert there is nothing to learn.
            if (!moe || moe->experts_per_token > 1 || moe->num_experts == 1 || !moe->router.normalize)
                continue;
            if (!seen.insert(sublayer.name).second) continue;
            const bool balances = moe->router.aux_loss > 0 || moe->router.z_loss > 0;
            warnings.push_back(fmt::format(
                "model.sublayers.{0}.router.normalize: with experts_per_token: 1 every weight is 1, so the "
                "loss gives the router no gradient{1}; set model.sublayers.{0}.router.normalize=false or "
                "experts_per_token to 2 or more",
                sublayer.name, balances ? " and it learns from its balancing alone" : ""));
        }
    return warnings;
}

std::vector<std::string> override_warnings(const RunConfig& run, const std::string& path,
                                           const std::vector<std::string>& overrides) {
    std::vector<std::string> others;
    std::copy_if(overrides.begin(), overrides.end(), std::back_inserter(others),
                 [](const std::string& text) { return !text.starts_with("model.pattern"); });
    if (others.size() == overrides.size() || run.model.num_layers > 0) return {};
    try {
        const RunConfig file = read_run_config(path, others);
        const size_t before = expand_layers(file.model).size(), now = expand_layers(run.model).size();
        if (file.model.num_layers > 0 || before == now) return {};
        return {
            fmt::format("model.pattern: {} has {} layer(s), with the override {}; without model.num_layers "
                        "the pattern is the whole model: to compare models of equal depth add "
                        "model.num_layers={}",
                        path, before, now, before)};
    } catch (const ConfigError&) {
        return {}; // the file alone is no run, so there is nothing to compare with
    }
}

} // namespace braid
