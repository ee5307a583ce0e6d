#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/task_set.h"
#include "layers/sublayer/recorder.h"
#include "parallel/collective_log.h"
#include "trainer/metrics/metrics_lines.h"
#include "trainer/metrics/tensorboard.h"

namespace braid {

struct Evaluation {
    double loss;          // nats per valid token
    double bits_per_byte; // the same per byte of text
};

/// A prompt and how the model goes on.
struct SampleText {
    std::string prompt, text;
};

/// All that an evaluation finds; by name.
struct Evaluations {
    std::map<std::string, Evaluation> sets;
    std::map<std::string, TaskScore> tasks;
    std::vector<SampleText> samples;
    bool empty() const { return sets.empty() && tasks.empty() && samples.empty(); }
};

/// One line of metrics.jsonl. Members are named as the fields are; docs/runs.md explains each. What does not
/// apply stays empty and its field is absent.
struct StepMetrics {
    int64_t step = 0;
    int64_t tokens = 0; // trained on so far, this step's included
    std::optional<double> loss, aux_loss, z_loss, mtp_loss, grad_norm, lr;
    std::optional<double> tokens_per_second, mfu, step_seconds, data_seconds, comm_seconds;
    std::optional<int64_t> host_waits;            // of this rank in this step, for its GPU
    std::map<std::string, Traffic> communication; // of this rank in this step, by axis
    std::optional<int64_t> memory_bytes, memory_used_bytes;
    std::optional<double> expert_load_max, expert_load_min;
    std::vector<SequenceLoss> worst_sequences;
    std::map<std::string, Evaluation> eval; // by name of the validation set
    std::optional<double> eval_loss;
    std::map<std::string, TaskScore> tasks; // by name
    std::vector<SampleText> samples;        // which are lines of samples.jsonl

    bool was_evaluated() const { return !eval.empty() || !tasks.empty() || !samples.empty(); }
};

/// One line of layers.jsonl.
struct LayerMetrics {
    int64_t step = 0;
    int64_t layer = 0;
    std::string sublayer;
    std::map<std::string, double> values; // by field name
};

/// The JSON object of one line: numbers keep all their digits, one that is not finite becomes null.
std::string to_json_line(const StepMetrics& metrics);
std::string to_json_line(const LayerMetrics& metrics);
/// One line of samples.jsonl; bytes that are no UTF-8 are replaced.
std::string to_json_line(int64_t step, const SampleText& sample);

/// Writes metrics.jsonl, layers.jsonl, samples.jsonl where there are prompts and, where asked to, TensorBoard
/// events into a run folder. A WriteError says what could not be written; the lines before it stay.
class MetricsWriter {
  public:
    /// Goes on behind the lines that are there, which are of steps up to `last_step`
    /// (trainer/run/superseded.h moves others away); TensorBoard is told to forget later ones. -1 before step
    /// 0.
    MetricsWriter(const std::string& folder, int64_t last_step, bool tensorboard);

    void write(const StepMetrics& metrics);
    /// The layers of one step.
    void write(const std::vector<LayerMetrics>& layers);
    /// Makes everything written so far survive a power loss; call it before a checkpoint is published, so
    /// that a resume finds every line up to it.
    void sync();

  private:
    const std::string folder_;
    LineFile steps_, layers_;
    std::optional<LineFile> samples_; // from the first sample on
    std::unique_ptr<EventFile> events_;
};

} // namespace braid
