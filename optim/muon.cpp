#include "optim/muon.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "parallel/collective_log.h"
#include "parallel/exposed_time.h"

namespace braid {
namespace {

using Piece = MatrixPlan::Piece;

/// The parts of each unit's flat buffers that this rank updates and Muon does not.
std::vector<std::vector<FlatRange>> other_ranges(const ParameterStore& store,
                                                 const std::vector<UnitSettings>& settings, bool sharded) {
    std::vector<std::vector<FlatRange>> result = updated_ranges(store, sharded);
    for (size_t u = 0; u < result.size(); ++u) {
        std::vector<FlatRange> ranges;
        size_t index = 0;
        for (const Parameter* parameter : store.units()[u]->parameters)
            for (const Parameter::Section& section : parameter->sections()) {
                if (settings[u][index++].muon) continue;
                for (const FlatRange& range : result[u]) {
                    const FlatRange part{std::max(range.first, section.unit_offset),
                                         std::min(range.last, section.unit_offset + section.numel())};
                    if (part.first < part.last) ranges.push_back(part);
                }
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

/// Where each piece starts in a message made of all of them in order, and where the last ends.
std::vector<int64_t> starts(const std::vector<Piece>& pieces) {
    std::vector<int64_t> result{0};
    for (const Piece& piece : pieces) result.push_back(result.back() + piece.numel());
    return result;
}

/// Elements of the messages, by rank; none to oneself.
std::vector<int64_t> message_sizes(const std::vector<std::vector<Piece>>& messages, int self) {
    std::vector<int64_t> sizes;
    for (const std::vector<Piece>& pieces : messages) sizes.push_back(starts(pieces).back());
    sizes[static_cast<size_t>(self)] = 0;
    return sizes;
}

/// Calls body(piece, elements of its row i in the message, i) for all rows of the messages' pieces. Of pieces
/// that stay on this rank the elements are own(piece, i); they are left out where that is null.
template <typename T, typename Own, typename Body>
void for_each_row(const std::vector<std::vector<Piece>>& messages, int self, T* message, const Own& own,
                  const Body& body) {
    for (size_t rank = 0; rank < messages.size(); ++rank) {
        const bool stays = static_cast<int>(rank) == self;
        const std::vector<int64_t> start = starts(messages[rank]);
#pragma omp parallel for schedule(dynamic, 16) if (start.back() > 1 << 15)
        for (size_t p = 0; p < messages[rank].size(); ++p) {
            const Piece& piece = messages[rank][p];
            for (int64_t i = 0; i < piece.rows; ++i)
                if (T* row = stays ? own(piece, i) : message + start[p] + i * piece.columns)
                    body(piece, row, i);
        }
        if (!stays) message += start.back();
    }
}

/// Row i of a piece in its matrix.
template <typename T>
struct RowsOf {
    const std::vector<Tensor>& matrices;
    T* operator()(const Piece& piece, int64_t i) const {
        const Tensor& matrix = matrices[piece.matrix];
        return matrix.template data<T>() + (piece.row + i) * matrix.dim(1) + piece.column;
    }
};
template <typename T>
constexpr auto kNoRow = [](const Piece&, int64_t) { return static_cast<T*>(nullptr); };

} // namespace

/// Packed messages of these sizes in elements.
struct Muon::Messages {
    std::vector<int64_t> bytes;
    Tensor data;

    Messages(Allocator& allocator, const std::vector<int64_t>& sizes, DType dtype)
        : data(Tensor::empty(allocator, {std::accumulate(sizes.begin(), sizes.end(), int64_t{0})}, dtype)) {
        for (const int64_t size : sizes) bytes.push_back(size * static_cast<int64_t>(size_of(dtype)));
    }
};

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
        momentum_.emplace_back();
        for (const MatrixPlan::Range& range : plan_.unit(static_cast<int>(u)).ranges)
            momentum_.back().push_back(
                Tensor::zeros(allocator, {range.flat.last - range.flat.first}, store.dtype()));
    }
}

void Muon::update(int unit, int64_t step, double lr, double gradient_scale) {
    adamw_.update(unit, step, lr, gradient_scale);
    const MatrixPlan::Unit& plan = plan_.unit(unit);
    if (!exchanges(unit)) return;
    const CollectiveLabel label(mesh_.world().log(), "update of", store_.unit(unit).name);
    update_momentum(unit, gradient_scale);
    Matrices matrices = make_matrices(plan);
    gather_matrices(unit, gradient_scale, matrices);
    LastUpdate& last = last_updates_[static_cast<size_t>(unit)];
    last = {lr, gradient_scale, {}};
    for (const auto& [numbers, values] : matrices.batches)
        last.norms.emplace_back(numbers, ops::newton_schulz(allocator_, values, steps_));
    apply_updates(unit, lr, matrices);
}

void Muon::update_momentum(int unit, double gradient_scale) {
    const auto& ranges = plan_.unit(unit).ranges;
    dispatch_float(store_.dtype(), [&]<typename T>() {
        const T beta = static_cast<T>(config_.muon.momentum),
                share = static_cast<T>((1 - config_.muon.momentum) * gradient_scale);
        for (size_t r = 0; r < ranges.size(); ++r) {
            const FlatRange& range = ranges[r].flat;
            const int64_t count = range.last - range.first;
            const T* g = store_.unit(unit).gradients.template data<T>() + range.first;
            T* m = momentum_[static_cast<size_t>(unit)][r].template data<T>();
#pragma omp parallel for simd schedule(static) if (count > 1 << 14)
            for (int64_t i = 0; i < count; ++i) m[i] = beta * m[i] + share * g[i];
        }
    });
}

Muon::Matrices Muon::make_matrices(const MatrixPlan::Unit& plan) const {
    std::map<std::pair<int64_t, int64_t>, std::vector<size_t>> by_shape;
    for (size_t m = 0; m < plan.matrices.size(); ++m)
        if (plan.matrices[m].rank == mesh_.world().rank())
            by_shape[{plan.matrices[m].rows, plan.matrices[m].columns}].push_back(m);
    Matrices result;
    result.of.resize(plan.matrices.size());
    for (const auto& [shape, numbers] : by_shape) {
        const auto count = static_cast<int64_t>(numbers.size());
        const Tensor values = Tensor::empty(allocator_, {count, shape.first, shape.second}, store_.dtype());
        for (size_t i = 0; i < numbers.size(); ++i)
            result.of[numbers[i]] = values.rows(static_cast<int64_t>(i), 1).view({shape.first, shape.second});
        result.batches.emplace_back(numbers, values);
    }
    return result;
}

void Muon::exchange(const Messages& send, const Messages& receive) {
    if (mesh_.world().size() == 1) return;
    const ExposedTime timer(exposed_seconds_);
    mesh_.world()
        .all_to_all(send.data.raw_data(), send.bytes, receive.data.raw_data(), receive.bytes)
        ->wait();
}

double Muon::take_exposed_seconds() {
    return std::exchange(exposed_seconds_, 0);
}

void Muon::gather_matrices(int unit, double gradient_scale, const Matrices& matrices) {
    const MatrixPlan::Unit& plan = plan_.unit(unit);
    const int me = mesh_.world().rank();
    const Messages send(allocator_, message_sizes(plan.sent, me), store_.dtype());
    const Messages received(allocator_, message_sizes(plan.received, me), store_.dtype());
    dispatch_float(store_.dtype(), [&]<typename T>() {
        const T beta = static_cast<T>(config_.muon.momentum),
                share = static_cast<T>((1 - config_.muon.momentum) * gradient_scale);
        const T* gradients = store_.unit(unit).gradients.template data<T>();
        const auto fill = [&](const Piece& piece, T* row, int64_t i) {
            const int64_t first = piece.first + i * piece.stride;
            const T* m = momentum_[static_cast<size_t>(unit)][piece.range].template data<T>() + first;
            const T* g = gradients + plan.ranges[piece.range].flat.first + first;
            if (!config_.muon.nesterov) return void(std::copy_n(m, piece.columns, row));
            for (int64_t j = 0; j < piece.columns; ++j) row[j] = beta * m[j] + share * g[j];
        };
        for_each_row(plan.sent, me, send.data.template data<T>(), RowsOf<T>{matrices.of}, fill);
        exchange(send, received);
        for_each_row(plan.received, me, received.data.template data<T>(), kNoRow<T>,
                     [&](const Piece& piece, const T* row, int64_t i) {
                         std::copy_n(row, piece.columns, RowsOf<T>{matrices.of}(piece, i));
                     });
    });
}

void Muon::apply_updates(int unit, double lr, const Matrices& matrices) {
    const MatrixPlan::Unit& plan = plan_.unit(unit);
    const int me = mesh_.world().rank();
    const Messages send(allocator_, message_sizes(plan.returned, me), store_.dtype());
    const Messages received(allocator_, message_sizes(plan.applied, me), store_.dtype());
    dispatch_float(store_.dtype(), [&]<typename T>() {
        for_each_row(plan.returned, me, send.data.template data<T>(), kNoRow<T>,
                     [&](const Piece& piece, T* row, int64_t i) {
                         std::copy_n(RowsOf<T>{matrices.of}(piece, i), piece.columns, row);
                     });
        exchange(send, received);
        T* values = store_.unit(unit).values.template data<T>();
        const auto apply = [&](const Piece& piece, const T* row, int64_t i) {
            const MatrixPlan::Matrix& matrix = plan.matrices[piece.matrix];
            const SectionSettings& settings = settings_[static_cast<size_t>(unit)][matrix.section];
            const double section_lr = lr * settings.lr_scale;
            const T keep = static_cast<T>(1 - section_lr * settings.weight_decay);
            const T step = static_cast<T>(section_lr * update_scale(matrix.rows, matrix.columns));
            T* p = values + plan.ranges[piece.range].flat.first + piece.first + i * piece.stride;
            for (int64_t j = 0; j < piece.columns; ++j) p[j] = keep * p[j] - step * row[j];
        };
        for_each_row(plan.applied, me, received.data.template data<T>(), RowsOf<T>{matrices.of}, apply);
    });
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
        for (size_t r = 0; r < momentum_[unit].size(); ++r)
            visit("momentum", static_cast<int>(unit), plan_.unit(static_cast<int>(unit)).ranges[r].flat,
                  momentum_[unit][r]);
    adamw_.visit_state(visit);
}

std::vector<std::string> Muon::states(int unit, size_t section) const {
    if (settings_[static_cast<size_t>(unit)][section].muon) return {"momentum"};
    return adamw_.states(unit, section);
}

std::map<std::string, double> Muon::update_slopes() const {
    // An element changes by at most the Frobenius norm of the matrix' change. The steps stretch that by their
    // slope at most, the division by |n| + eps by 1 / (|n| + eps), and n is (1 - b) g or (1 - b)(1 + b) g
    // plus what does not change.
    const double b = config_.muon.momentum, share = (1 - b) * (config_.muon.nesterov ? 1 + b : 1);
    std::map<std::string, double> slopes;
    for (size_t u = 0; u < last_updates_.size(); ++u) {
        std::vector<const std::string*> names;
        for (const Parameter* parameter : store_.units()[u]->parameters)
            for (const Parameter::Section& section : parameter->sections())
                names.push_back(&section.spec.name);
        for (const auto& [numbers, norms] : last_updates_[u].norms) {
            Allocator host;
            const Tensor values = to_device(host, norms);
            for (size_t i = 0; i < numbers.size(); ++i) {
                const MatrixPlan::Matrix& matrix = plan_.unit(static_cast<int>(u)).matrices[numbers[i]];
                double& slope = slopes[*names[matrix.section]];
                slope = std::max(slope, last_updates_[u].lr * settings_[u][matrix.section].lr_scale *
                                            update_scale(matrix.rows, matrix.columns) *
                                            ops::newton_schulz_slope(steps_) * share *
                                            last_updates_[u].gradient_scale /
                                            (values.data<double>()[i] + ops::kNewtonSchulzEps));
            }
        }
    }
    return slopes;
}

} // namespace braid
