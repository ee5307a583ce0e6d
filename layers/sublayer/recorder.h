#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ops/documents.h"
#include "tensor/tensor.h"

namespace braid {

class Communicator;

/// The place a diagnostic belongs to; ordered by layer, then by the sublayer's place in it.
struct DiagnosticSite {
    int layer = -1;
    int position = 0;
    std::string sublayer;
    auto operator<=>(const DiagnosticSite&) const = default;
};

/// A sequence of a step, one of those with its highest losses.
struct SequenceLoss {
    int64_t sample; // its index in the order of training, which `braid data show --sample` takes
    double loss;    // mean cross-entropy of its valid tokens, nats
    bool operator==(const SequenceLoss&) const = default;
};

/// Takes what forward and backward runs report beside their results: sums of losses, tokens per expert and,
/// when asked, diagnostics per layer. Adds up over the micro-batches of a step, then over ranks. Nothing here
/// flows back into training except expert counts, which are integers.
class Recorder {
  public:
    enum class Kind { rms, mean, max, min };

    struct Statistic {
        Kind kind;
        double sum = 0; // of squares, of values; or the extreme so far
        double count = 0;
        double value() const;
    };

    using Diagnostics = std::map<std::pair<DiagnosticSite, std::string>, Statistic>;

    Recorder(size_t num_moe_layers, bool wants_diagnostics)
        : expert_counts(num_moe_layers), wants_diagnostics_(wants_diagnostics) {}

    double cross_entropy = 0; // sums over tokens in nats, before division by the step's totals
    double head_z = 0;
    double aux_loss = 0; // as it enters the total: weights and divisors included
    double router_z_loss = 0;
    std::vector<std::vector<int64_t>> expert_counts; // [MoE layer in model order][expert]

    /// Adds factor times a scalar (f64 [1]) to one of the sums above.
    void add(double Recorder::*sum, const Tensor& scalar, double factor = 1);
    void add_expert_counts(int moe_index, const Tensor& counts);

    /// Where set, the losses of each document that runs are added up and appended to it, once settled.
    std::vector<double>* document_losses = nullptr;

    /// How many sequences with the highest losses are remembered.
    static constexpr size_t kNumWorstSequences = 4;
    /// Takes the sequences of a micro-batch: losses f64 [T], 0 where the label (i32 [T]) is -1. A sequence
    /// without a valid label has no loss.
    void add_sequences(const DocumentsPtr& documents, const Tensor& token_losses, const Tensor& labels);
    /// The highest loss first, one that is no number before all; equal losses by sample.
    const std::vector<SequenceLoss>& worst_sequences() const { return worst_sequences_; }

    bool wants_diagnostics() const { return wants_diagnostics_; }
    /// The root mean square of all elements of x over all calls.
    void rms(const DiagnosticSite& site, const std::string& name, const Tensor& x);
    void rms(const DiagnosticSite& site, const std::string& name, double sum_of_squares, double count);
    void mean(const DiagnosticSite& site, const std::string& name, double sum, double count);
    void max(const DiagnosticSite& site, const std::string& name, double value);
    void min(const DiagnosticSite& site, const std::string& name, double value);
    const Diagnostics& diagnostics() const { return diagnostics_; }

    /// Takes what a GPU has computed by now: numbers of its tensors are not asked for earlier, so that
    /// nobody waits in the middle of a step.
    void settle();
    /// settle(); then combines the records of all ranks; every rank gets the same. Ranks without a sample
    /// take part.
    void reduce(Communicator& comm);

  private:
    Statistic& at(const DiagnosticSite& site, const std::string& name, Kind kind);

    void when_computed(const std::vector<Tensor>& tensors,
                       std::function<void(const std::vector<Tensor>&)> take);
    void keep_worst_sequences();
    void gather_worst_sequences(Communicator& comm);

    bool wants_diagnostics_;
    std::vector<SequenceLoss> worst_sequences_;
    std::vector<std::function<void()>> to_settle_;
    Diagnostics diagnostics_;
};

} // namespace braid
