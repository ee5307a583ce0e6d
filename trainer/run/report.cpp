#include "trainer/run/report.h"

#include <algorithm>
#include <numeric>

#include "layers/specification/sublayer_type.h"
#include "trainer/config/run_check.h"

namespace braid {
namespace {

/// The load of experts relative to an even share.
struct Load {
    double least = 0, most = 0;
    int64_t dead = 0; // experts without a token
};

std::optional<Load> load_of(const std::vector<int64_t>& counts) {
    const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
    if (total == 0) return std::nullopt;
    const auto relative = [&](int64_t count) {
        return static_cast<double>(count) * static_cast<double>(counts.size()) / static_cast<double>(total);
    };
    const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
    return Load{relative(*least), relative(*most), std::count(counts.begin(), counts.end(), 0)};
}

} // namespace

StepMetrics step_metrics(const Trainer& trainer, const StepReport& report, double gemm_rate) {
    const RunConfig& config = trainer.config();
    StepMetrics metrics{.step = report.step, .tokens = trainer.tokens_seen()};
    if (report.valid_labels > 0) metrics.loss = report.loss; // nothing was predicted: no number, not a 0
    metrics.grad_norm = report.grad_norm;
    metrics.lr = report.lr;
    bool has_aux = false, has_z = config.model.head.z_loss > 0;
    for (const MoeLayer* moe : trainer.model().moe_layers()) {
        has_aux |= moe->config().router.aux_loss > 0;
        has_z |= moe->config().router.z_loss > 0;
    }
    if (has_aux) metrics.aux_loss = report.aux_loss;
    if (has_z) metrics.z_loss = report.z_loss;
    // Speed counts every token that goes through the model, labelled or not.
    metrics.tokens_per_second =
        static_cast<double>(config.train.global_batch * config.train.sequence_length) / report.step_seconds;
    metrics.mfu = report.flops / report.step_seconds / gemm_rate;
    metrics.step_seconds = report.step_seconds;
    metrics.data_seconds = report.data_seconds;
    metrics.comm_seconds = report.communication_seconds;
    if (trainer.allocator().device().kind == DeviceKind::cuda) metrics.host_waits = report.host_waits;
    metrics.worst_sequences = report.worst_sequences;
    const Allocator::Statistics memory = trainer.allocator().statistics();
    metrics.memory_bytes = memory.peak_reserved_bytes;
    metrics.memory_used_bytes = memory.peak_used_bytes;
    for (const auto& counts : report.expert_counts)
        if (const auto load = load_of(counts)) {
            metrics.expert_load_max = std::max(metrics.expert_load_max.value_or(load->most), load->most);
            metrics.expert_load_min = std::min(metrics.expert_load_min.value_or(load->least), load->least);
        }
    return metrics;
}

void add_evaluations(StepMetrics& metrics, const Evaluations& evaluations) {
    metrics.eval = evaluations.sets;
    metrics.tasks = evaluations.tasks;
    metrics.samples = evaluations.samples;
    if (metrics.eval.empty()) return;
    double sum = 0;
    for (const auto& [name, evaluation] : metrics.eval) sum += evaluation.loss;
    metrics.eval_loss = sum / static_cast<double>(metrics.eval.size());
}

std::vector<LayerMetrics> layer_metrics(const Trainer& trainer, const StepReport& report) {
    std::map<DiagnosticSite, std::map<std::string, double>> sites;
    for (const auto& [key, statistic] : report.diagnostics) sites[key.first][key.second] = statistic.value();
    for (const MoeLayer* moe : trainer.model().moe_layers())
        if (const auto load = load_of(report.expert_counts[static_cast<size_t>(moe->moe_index())])) {
            auto& values = sites[moe->site()];
            values["expert_load_max"] = load->most;
            values["expert_load_min"] = load->least;
            values["dead_experts"] = static_cast<double>(load->dead);
        }
    std::vector<LayerMetrics> lines;
    for (const auto& [site, values] : sites)
        lines.push_back({report.step, site.layer, site.sublayer, values});
    return lines;
}

std::string describe_start(const Trainer& trainer, int num_ranks, int num_threads) {
    const RunConfig& config = trainer.config();
    std::string text = fmt::format(
        "{}: {} parameters, {} active per token; {} rank(s) of {} thread(s); {} steps of {} sequences of {} "
        "tokens",
        config.name, trainer.model().num_parameters(), trainer.model().num_active_parameters(), num_ranks,
        num_threads, config.train.steps, config.train.global_batch, config.train.sequence_length);
    if (trainer.idle_share() > 0)
        text += fmt::format("\n{} sequences do not divide over {} ranks: {:.1f}% of the time is idle",
                            config.train.global_batch, num_ranks, 100 * trainer.idle_share());
    for (int k = 0; k < trainer.loader().num_sources(); ++k)
        text += fmt::format("\n{}: {} tokens, {:.2f} epochs in this run", trainer.loader().source(k).path(),
                            trainer.loader().source(k).num_tokens(), trainer.epochs(k));
    for (const auto& [name, set] : trainer.validation())
        text += fmt::format("\nvalidation set {}: {}, {} windows", name, set->source().path(),
                            set->num_windows());
    for (const auto& [name, task] : trainer.tasks()) {
        text += fmt::format("\ntask {}: {}, {} items", name, task.path(), task.num_items());
        if (task.num_cut() > 0)
            text += fmt::format(", of which {} lose the beginning of a context of more than {} tokens",
                                task.num_cut(), config.train.sequence_length);
    }
    for (const std::string& name : unused_sublayers(config.model))
        text += fmt::format("\nmodel.sublayers.{} is not used by any layer", name);
    for (const std::string& warning : run_warnings(config)) text += "\nwarning: " + warning;
    return text;
}

} // namespace braid
