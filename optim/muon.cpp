#include "optim/muon.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "parallel/collective_log.h"
#include "parallel/collectives.h"
#include "tensor/host_values.h"

namespace braid {
namespace {

/// The parts of each unit's flat buffers that this rank updates and Muon does not.
std::vector<std::vector<FlatRange>> other_ranges(const ParameterStore& store,
                                                 const std::vector<UnitSettings>& settings, bool sharded) {
    std::vector<std::vector<FlatRange>> result = updated_ranges(store, sharded);
    for (size_t u = 0; u < result.size(); ++u) {
        std::vector<FlatRange> ranges;
        for (const PlacedSection& section : store.sections(static_cast<int>(u))) {
            const SectionSettings& of = settings_of(settings, section);
            if (of.matrix || of.frozen) continue;
            for (const FlatRange& range : result[u])
                if (const FlatRange part = overlap(range, section->flat()); part.numel() > 0)
                    ranges.push_back(part);
        }
        result[u] = std::move(ranges);
    }
    return result;
}

std::vector<ops::NewtonSchulzStep> newton_schulz_steps(const MuonConfig& config) {
    const auto count = static_cast<int>(config.ns_steps);
    return config.coefficients == MuonCoefficients::quintic ? ops::quintic_steps(count)
                                                            : ops::polar_express_steps(count);
}

} // namespace

Muon::Muon(const OptimizerConfig& config, ParameterStore& store, const Mesh& mesh, Allocator& allocator,
           bool sharded)
    : config_(config),
      store_(store),
      mesh_(mesh),
      allocator_(allocator),
      settings_(resolve_groups(config, store)),
      plan_(store, settings_, config.muon.split_heads, mesh, sharded),
      steps_(newton_schulz_steps(config.muon)),
      adamw_(config, store, allocator, other_ranges(store, settings_, sharded)) {
    last_updates_.resize(store.units().size());
    for (size_t u = 0; u < store.units().size(); ++u) {
        moves_.emplace_back(allocator, plan_.unit(static_cast<int>(u)), mesh.world().rank(),
                            [&](const MatrixPlan::Matrix& matrix) {
                                const SectionSettings& settings = settings_[u][matrix.section];
                                return ops::MuonFactors{settings.lr_scale, settings.weight_decay,
                                                        update_scale(matrix.rows, matrix.columns)};
                            });
        momentum_.push_back(Tensor::zeros(allocator, {moves_.back().num_momentum_elements}, store.dtype()));
    }
}

void Muon::update(int unit, int64_t step, double lr, double gradient_scale) {
    adamw_.update(unit, step, lr, gradient_scale);
    if (!exchanges(unit)) return;
    const CollectiveLabel label(mesh_.world().log(), "update of", store_.unit(unit).name);
    const MatrixMoves& moves = moves_[static_cast<size_t>(unit)];
    const Tensor matrices = gather_matrices(moves, update_momentum(unit, gradient_scale));
    LastUpdate& last = last_updates_[static_cast<size_t>(unit)];
    last = {lr, gradient_scale, {}};
    for (const MatrixMoves::Batch& batch : moves.batches)
        last.norms.push_back(ops::newton_schulz(allocator_, batch.values(matrices), steps_));
    apply_updates(unit, lr, matrices);
}

/// Returns what is orthogonalised, as momentum lies: the momentum, or that one step ahead.
Tensor Muon::update_momentum(int unit, double gradient_scale) {
    const auto& ranges = plan_.unit(unit).ranges;
    const Tensor& momentum = momentum_[static_cast<size_t>(unit)];
    const Tensor ahead = config_.muon.nesterov ? empty(momentum.numel()) : Tensor();
    for (size_t r = 0; r < ranges.size(); ++r) {
        const int64_t first = moves_[static_cast<size_t>(unit)].ranges[r].first,
                      count = ranges[r].flat.last - ranges[r].flat.first;
        ops::muon_momentum(
            momentum.rows(first, count), store_.unit(unit).gradients.rows(ranges[r].flat.first, count),
            ahead.defined() ? ahead.rows(first, count) : Tensor(), config_.muon.momentum, gradient_scale);
    }
    return ahead.defined() ? ahead : momentum;
}

Tensor Muon::empty(int64_t elements) const {
    return Tensor::empty(allocator_, {elements}, store_.dtype());
}

/// Sends packed fragments of these sizes in elements, and returns those that come.
Tensor Muon::exchange(const Tensor& send, const std::vector<int64_t>& sent,
                      const std::vector<int64_t>& received) {
    const Tensor receive = empty(std::accumulate(received.begin(), received.end(), int64_t{0}));
    if (mesh_.world().size() == 1) return receive;
    const auto in_bytes = [&](std::vector<int64_t> sizes) {
        for (int64_t& size : sizes) size *= static_cast<int64_t>(size_of(store_.dtype()));
        return sizes;
    };
    const ExposedTime::Span span(exposed_time_, allocator_.stream());
    for_memory_of(mesh_.world(), send)
        .all_to_all(send.raw_data(), in_bytes(sent), receive.raw_data(), in_bytes(received))
        ->wait();
    return receive;
}

double Muon::take_exposed_seconds() {
    return exposed_time_.take_seconds();
}

Tensor Muon::gather_matrices(const MatrixMoves& moves, const Tensor& momentum) {
    const Tensor matrices = empty(moves.num_matrix_elements), send = empty(moves.sent.moves.num_elements());
    ops::copy_rectangles(momentum, matrices, moves.own_sent);
    ops::copy_rectangles(momentum, send, moves.sent.moves);
    const Tensor received = exchange(send, moves.sent.sizes, moves.received.sizes);
    ops::copy_rectangles(received, matrices, moves.received.moves);
    return matrices;
}

void Muon::apply_updates(int unit, double lr, const Tensor& matrices) {
    const MatrixMoves& moves = moves_[static_cast<size_t>(unit)];
    const Tensor& values = store_.unit(unit).values;
    const Tensor send = empty(moves.returned.moves.num_elements());
    ops::copy_rectangles(matrices, send, moves.returned.moves);
    const Tensor received = exchange(send, moves.returned.sizes, moves.applied_sizes);
    ops::muon_apply(values, matrices, moves.own_applied, lr);
    ops::muon_apply(values, received, moves.applied, lr);
}

double Muon::update_scale(int64_t out, int64_t in) const {
    const double ratio = static_cast<double>(out) / static_cast<double>(in);
    switch (config_.muon.scale) {
        case MuonScale::match_rms:
            return 0.2 * std::sqrt(static_cast<double>(std::max(out, in)));
        case MuonScale::original:
            return std::sqrt(std::max(1.0, ratio));
        case MuonScale::spectral:
            return std::sqrt(ratio);
    }
    throw InternalError("unknown scale of Muon");
}

void Muon::visit_state(
    const std::function<void(const std::string&, int, const FlatRange&, const Tensor&)>& visit) const {
    for (size_t unit = 0; unit < momentum_.size(); ++unit)
        for (size_t r = 0; r < moves_[unit].ranges.size(); ++r) {
            const auto [first, last] = moves_[unit].ranges[r];
            visit("momentum", static_cast<int>(unit), plan_.unit(static_cast<int>(unit)).ranges[r].flat,
                  momentum_[unit].rows(first, last - first));
        }
    adamw_.visit_state(visit);
}

std::vector<std::string> Muon::states(int unit, size_t section) const {
    if (settings_[static_cast<size_t>(unit)][section].matrix) return {"momentum"};
    return adamw_.states(unit, section);
}

std::map<std::string, double> Muon::update_slopes() const {
    // An element changes by at most the Frobenius norm of the matrix' change. The steps stretch that by their
    // slope at most, the division by |n| + eps by 1 / (|n| + eps), and n is (1 - b) g or (1 - b)(1 + b) g
    // plus what does not change.
    const double b = config_.muon.momentum, share = (1 - b) * (config_.muon.nesterov ? 1 + b : 1);
    std::map<std::string, double> slopes;
    for (size_t u = 0; u < last_updates_.size(); ++u) {
        const std::vector<PlacedSection> sections = store_.sections(static_cast<int>(u));
        for (size_t k = 0; k < last_updates_[u].norms.size(); ++k) {
            const std::vector<double> norms = host_values<double>(last_updates_[u].norms[k]);
            for (size_t i = 0; i < norms.size(); ++i) {
                const MatrixPlan::Matrix& matrix =
                    plan_.unit(static_cast<int>(u)).matrices[moves_[u].batches[k].numbers[i]];
                double& slope = slopes[sections[matrix.section]->spec.name];
                slope = std::max(
                    slope, last_updates_[u].lr * settings_[u][matrix.section].lr_scale *
                               update_scale(matrix.rows, matrix.columns) * ops::newton_schulz_slope(steps_) *
                               share * last_updates_[u].gradient_scale / (norms[i] + ops::kNewtonSchulzEps));
            }
        }
    }
    return slopes;
}

} // namespace braid
