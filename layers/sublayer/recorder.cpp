#include "layers/sublayer/recorder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/basic/reduce.h"
#include "parallel/collectives.h"

namespace braid {

double Recorder::Statistic::value() const {
    switch (kind) {
        case Kind::rms:
            return count > 0 ? std::sqrt(sum / count) : 0;
        case Kind::mean:
            return count > 0 ? sum / count : 0;
        case Kind::max:
        case Kind::min:
            return sum;
    }
    return 0;
}

void Recorder::when_computed(const std::vector<Tensor>& tensors,
                             std::function<void(const std::vector<Tensor>&)> take) {
    const bool here = std::all_of(tensors.begin(), tensors.end(),
                                  [](const Tensor& x) { return x.device().kind == DeviceKind::cpu; });
    if (here) return take(tensors);
    to_settle_.emplace_back([tensors, take = std::move(take)] {
        Allocator host;
        std::vector<Tensor> copies;
        for (const Tensor& x : tensors) copies.push_back(to_device(host, x));
        take(copies);
    });
}

void Recorder::settle() {
    for (const auto& take : to_settle_) take();
    to_settle_.clear();
}

void Recorder::add(double Recorder::*sum, const Tensor& scalar, double factor) {
    when_computed({scalar}, [this, sum, factor](const std::vector<Tensor>& x) {
        this->*sum += factor * *x[0].data<double>();
    });
}

void Recorder::add_expert_counts(int moe_index, const Tensor& counts) {
    when_computed({counts}, [this, moe_index](const std::vector<Tensor>& x) {
        auto& total = expert_counts[static_cast<size_t>(moe_index)];
        const auto values = x[0].span<int64_t>();
        total.resize(values.size());
        for (size_t e = 0; e < values.size(); ++e) total[e] += values[e];
    });
}

void Recorder::add_sequences(const DocumentsPtr& documents, const Tensor& token_losses,
                             const Tensor& labels) {
    when_computed({token_losses, labels}, [this, documents](const std::vector<Tensor>& x) {
        const auto losses = x[0].span<double>();
        const auto label = x[1].span<int32_t>();
        if (document_losses)
            for (int64_t d = 0; d < documents->num_documents(); ++d) {
                const auto begin = losses.begin() + documents->offsets[static_cast<size_t>(d)];
                const auto end = losses.begin() + documents->offsets[static_cast<size_t>(d) + 1];
                document_losses->push_back(std::accumulate(begin, end, 0.0));
            }
        const auto length = static_cast<size_t>(documents->sequence_length());
        for (int64_t s = 0; s < documents->num_sequences; ++s) {
            double sum = 0;
            int64_t count = 0;
            const size_t begin = static_cast<size_t>(s) * length;
            for (size_t t = begin; t < begin + length; ++t) {
                sum += losses[t];
                count += label[t] >= 0;
            }
            if (count > 0)
                worst_sequences_.push_back({documents->first_sample + s, sum / static_cast<double>(count)});
        }
        keep_worst_sequences();
    });
}

void Recorder::keep_worst_sequences() {
    const auto is_worse = [](const SequenceLoss& a, const SequenceLoss& b) {
        const auto height = [](double loss) { return std::isnan(loss) ? HUGE_VAL : loss; };
        return height(a.loss) != height(b.loss) ? height(a.loss) > height(b.loss) : a.sample < b.sample;
    };
    std::sort(worst_sequences_.begin(), worst_sequences_.end(), is_worse);
    if (worst_sequences_.size() > kNumWorstSequences) worst_sequences_.resize(kNumWorstSequences);
}

Recorder::Statistic& Recorder::at(const DiagnosticSite& site, const std::string& name, Kind kind) {
    return diagnostics_.try_emplace({site, name}, Statistic{kind}).first->second;
}

void Recorder::rms(const DiagnosticSite& site, const std::string& name, const Tensor& x) {
    rms(site, name, ops::sum_of_squares(x), static_cast<double>(x.numel()));
}

void Recorder::rms(const DiagnosticSite& site, const std::string& name, double sum_of_squares, double count) {
    Statistic& statistic = at(site, name, Kind::rms);
    statistic.sum += sum_of_squares;
    statistic.count += count;
}

void Recorder::mean(const DiagnosticSite& site, const std::string& name, double sum, double count) {
    Statistic& statistic = at(site, name, Kind::mean);
    statistic.sum += sum;
    statistic.count += count;
}

void Recorder::max(const DiagnosticSite& site, const std::string& name, double value) {
    Statistic& statistic = at(site, name, Kind::max);
    if (statistic.count++ == 0 || !(value <= statistic.sum)) statistic.sum = value;
}

void Recorder::min(const DiagnosticSite& site, const std::string& name, double value) {
    Statistic& statistic = at(site, name, Kind::min);
    if (statistic.count++ == 0 || !(value >= statistic.sum)) statistic.sum = value;
}

namespace {

/// A statistic on its way between ranks: one line of text, with numbers as hexadecimal floats so that no
/// digit is lost.
std::string to_line(const std::pair<DiagnosticSite, std::string>& key, const Recorder::Statistic& statistic) {
    return fmt::format("{} {} {} {} {} {:a} {:a}\n", key.first.layer, key.first.position,
                       key.first.sublayer.empty() ? "-" : key.first.sublayer, key.second,
                       static_cast<int>(statistic.kind), statistic.sum, statistic.count);
}

} // namespace

void Recorder::gather_worst_sequences(Communicator& comm) {
    static_assert(std::is_trivially_copyable_v<SequenceLoss>);
    constexpr SequenceLoss kNone{-1, 0}; // fills up, so that all ranks send the same number of bytes
    worst_sequences_.resize(kNumWorstSequences, kNone);
    const auto size = static_cast<size_t>(comm.size());
    std::vector<SequenceLoss> all(size * kNumWorstSequences);
    const std::vector<int64_t> bytes(size, kNumWorstSequences * sizeof(SequenceLoss));
    comm.all_gather(worst_sequences_.data(), all.data(), bytes)->wait();
    std::erase_if(all, [](const SequenceLoss& entry) { return entry.sample < 0; });
    worst_sequences_ = std::move(all);
    keep_worst_sequences();
}

void Recorder::reduce(Communicator& comm) {
    settle();
    if (comm.size() == 1) return;
    std::vector<double> losses = {cross_entropy, head_z, aux_loss, router_z_loss};
    all_reduce_sum(comm, std::span(losses));
    cross_entropy = losses[0], head_z = losses[1], aux_loss = losses[2], router_z_loss = losses[3];

    // A rank without samples has no counts yet: agree on the number of experts first.
    std::vector<double> num_experts;
    for (const auto& counts : expert_counts) num_experts.push_back(static_cast<double>(counts.size()));
    all_reduce_max(comm, std::span(num_experts));
    for (size_t i = 0; i < expert_counts.size(); ++i) {
        expert_counts[i].resize(static_cast<size_t>(num_experts[i]));
        all_reduce_sum(comm, std::span(expert_counts[i]));
    }
    gather_worst_sequences(comm);
    if (!wants_diagnostics_) return;
    std::string mine;
    for (const auto& [key, statistic] : diagnostics_) mine += to_line(key, statistic);
    diagnostics_.clear();
    for (const std::string& text : all_gather_text(comm, mine)) {
        size_t start = 0;
        for (size_t end; (end = text.find('\n', start)) != std::string::npos; start = end + 1) {
            int layer = 0, position = 0, kind = 0;
            char sublayer[256] = {}, name[256] = {};
            double sum = 0, count = 0;
            const std::string line = text.substr(start, end - start);
            check(std::sscanf(line.c_str(), "%d %d %255s %255s %d %la %la", &layer, &position, sublayer, name,
                              &kind, &sum, &count) == 7,
                  "a diagnostic from another rank cannot be read: {}", line);
            const DiagnosticSite site{layer, position, std::string_view(sublayer) == "-" ? "" : sublayer};
            switch (static_cast<Kind>(kind)) {
                case Kind::rms:
                    rms(site, name, sum, count);
                    break;
                case Kind::mean:
                    mean(site, name, sum, count);
                    break;
                case Kind::max:
                    max(site, name, sum);
                    break;
                case Kind::min:
                    min(site, name, sum);
                    break;
            }
        }
    }
}

} // namespace braid
