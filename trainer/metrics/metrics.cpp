#include "trainer/metrics/metrics.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "base/error.h"

namespace braid {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) {
    return std::isfinite(value) ? Json(value) : Json(nullptr);
}

/// Calls `field(name, value)` for every number of a step that applies, in the order of the line.
template <typename Field>
void for_each_number(const StepMetrics& metrics, const Field& field) {
    const auto optional = [&](const char* name, const auto& value) {
        if (value) field(name, *value);
    };
    optional("loss", metrics.loss);
    optional("aux_loss", metrics.aux_loss);
    optional("z_loss", metrics.z_loss);
    optional("mtp_loss", metrics.mtp_loss);
    optional("grad_norm", metrics.grad_norm);
    optional("lr", metrics.lr);
    optional("tokens_per_second", metrics.tokens_per_second);
    optional("mfu", metrics.mfu);
    optional("step_seconds", metrics.step_seconds);
    optional("data_seconds", metrics.data_seconds);
    optional("comm_seconds", metrics.comm_seconds);
    optional("host_waits", metrics.host_waits);
    for (const auto& [axis, traffic] : metrics.communication) {
        field("comm_bytes/" + axis, traffic.bytes_sent);
        field("comm_calls/" + axis, traffic.calls);
    }
    optional("memory_bytes", metrics.memory_bytes);
    optional("memory_used_bytes", metrics.memory_used_bytes);
    optional("expert_load_max", metrics.expert_load_max);
    optional("expert_load_min", metrics.expert_load_min);
    for (const auto& [name, evaluation] : metrics.eval) {
        field("eval/" + name + "/loss", evaluation.loss);
        field("eval/" + name + "/bits_per_byte", evaluation.bits_per_byte);
    }
    optional("eval_loss", metrics.eval_loss);
    for (const auto& [name, score] : metrics.tasks) {
        field("task/" + name + "/accuracy", score.accuracy);
        field("task/" + name + "/accuracy_stderr", score.accuracy_stderr);
        field("task/" + name + "/accuracy_norm", score.accuracy_norm);
        field("task/" + name + "/bits_per_byte", score.bits_per_byte);
    }
}

/// Bytes of a name that are no UTF-8 must not stop a run.
std::string dump(const Json& object) {
    return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<Scalar> scalars_of(const StepMetrics& metrics) {
    std::vector<Scalar> scalars;
    for_each_number(metrics, [&](const std::string& name, auto value) {
        scalars.push_back({name, static_cast<float>(value)});
    });
    scalars.push_back({"tokens", static_cast<float>(metrics.tokens)});
    return scalars;
}

/// Tags in the order of layers: layers/03.moe/router_entropy.
std::vector<Scalar> scalars_of(const std::vector<LayerMetrics>& layers) {
    std::vector<Scalar> scalars;
    for (const LayerMetrics& layer : layers)
        for (const auto& [name, value] : layer.values)
            scalars.push_back({fmt::format("layers/{:02}.{}/{}", layer.layer, layer.sublayer, name),
                               static_cast<float>(value)});
    return scalars;
}

} // namespace

std::string to_json_line(const StepMetrics& metrics) {
    Json object = {{"step", metrics.step}, {"tokens", metrics.tokens}};
    for_each_number(metrics, [&](const std::string& name, auto value) {
        if constexpr (std::is_integral_v<decltype(value)>)
            object[name] = value;
        else
            object[name] = number(value);
    });
    for (const SequenceLoss& worst : metrics.worst_sequences)
        object["worst_sequences"].push_back({{"sample", worst.sample}, {"loss", number(worst.loss)}});
    return dump(object);
}

std::string to_json_line(const LayerMetrics& metrics) {
    Json object = {{"step", metrics.step}, {"layer", metrics.layer}, {"sublayer", metrics.sublayer}};
    for (const auto& [name, value] : metrics.values) {
        check(!object.contains(name), "layers.jsonl: the field {} is written twice", name);
        object[name] = number(value);
    }
    return dump(object);
}

std::string to_json_line(int64_t step, const SampleText& sample) {
    return dump({{"step", step}, {"prompt", sample.prompt}, {"text", sample.text}});
}

MetricsWriter::MetricsWriter(const std::string& folder, int64_t last_step, bool tensorboard)
    : folder_(folder),
      steps_(folder + "/metrics.jsonl"),
      layers_(folder + "/layers.jsonl"),
      events_(tensorboard ? std::make_unique<EventFile>(folder, last_step + 1) : nullptr) {}

void MetricsWriter::write(const StepMetrics& metrics) {
    steps_.append(to_json_line(metrics));
    if (!samples_ && !metrics.samples.empty()) samples_.emplace(folder_ + "/samples.jsonl");
    for (const SampleText& sample : metrics.samples) samples_->append(to_json_line(metrics.step, sample));
    if (events_) events_->write(metrics.step, scalars_of(metrics));
}

void MetricsWriter::write(const std::vector<LayerMetrics>& layers) {
    for (const LayerMetrics& layer : layers) layers_.append(to_json_line(layer));
    if (events_ && !layers.empty()) events_->write(layers.front().step, scalars_of(layers));
}

void MetricsWriter::sync() {
    steps_.sync();
    layers_.sync();
    if (samples_) samples_->sync();
    if (events_) events_->sync();
}

} // namespace braid
