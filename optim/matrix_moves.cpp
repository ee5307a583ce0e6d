#include "optim/matrix_moves.h"

#include <map>
#include <utility>

namespace braid {
namespace {

using Fragment = MatrixPlan::Fragment;
using ops::Rectangle;

/// Splits the fragments of a list into those that stay on this rank and those that travel; of the latter,
/// make(fragment, at) gets the first element in the message. Returns the message's elements by rank.
template <typename Stays, typename Travels>
std::vector<int64_t> sort_fragments(const std::vector<std::vector<Fragment>>& list, int self,
                                    const Stays& stays, const Travels& travels) {
    std::vector<int64_t> sizes(list.size());
    int64_t at = 0;
    for (size_t rank = 0; rank < list.size(); ++rank)
        for (const Fragment& fragment : list[rank]) {
            if (static_cast<int>(rank) == self) {
                stays(fragment);
                continue;
            }
            travels(fragment, at);
            at += fragment.numel();
            sizes[rank] += fragment.numel();
        }
    return sizes;
}

void ignore(const Fragment&) {}

/// The matrices that this rank computes, in batches; the first element of each by number.
std::vector<int64_t> place_matrices(const MatrixPlan::Unit& plan, int self, MatrixMoves& moves) {
    constexpr int64_t kAlignment = 64; // elements, so that a batch starts where an allocation would
    std::map<std::pair<int64_t, int64_t>, std::vector<size_t>> by_shape;
    for (size_t m = 0; m < plan.matrices.size(); ++m)
        if (plan.matrices[m].rank == self)
            by_shape[{plan.matrices[m].rows, plan.matrices[m].columns}].push_back(m);
    std::vector<int64_t> first(plan.matrices.size(), -1);
    for (const auto& [shape, numbers] : by_shape) {
        const int64_t start = (moves.num_matrix_elements + kAlignment - 1) / kAlignment * kAlignment;
        for (size_t i = 0; i < numbers.size(); ++i)
            first[numbers[i]] = start + static_cast<int64_t>(i) * shape.first * shape.second;
        moves.batches.push_back(
            {numbers, start, {static_cast<int64_t>(numbers.size()), shape.first, shape.second}});
        moves.num_matrix_elements = start + moves.batches.back().shape.numel();
    }
    return first;
}

} // namespace

Tensor MatrixMoves::Batch::values(const Tensor& matrices) const {
    return matrices.rows(first, shape.numel()).view(shape);
}

MatrixMoves::MatrixMoves(Allocator& allocator, const MatrixPlan::Unit& plan, int rank,
                         const FactorsOf& factors_of) {
    for (const MatrixPlan::Range& range : plan.ranges) {
        const int64_t length = range.flat.last - range.flat.first;
        ranges.push_back({num_momentum_elements, num_momentum_elements + length});
        num_momentum_elements += length;
    }
    if (plan.matrices.empty()) return;
    const std::vector<int64_t> first = place_matrices(plan, rank, *this);
    const auto in_matrix = [&](const Fragment& fragment) {
        const int64_t columns = plan.matrices[fragment.matrix].columns;
        return std::pair(first[fragment.matrix] + fragment.row * columns + fragment.column, columns);
    };
    const auto in_momentum = [&](const Fragment& fragment) {
        return ranges[fragment.range].first + fragment.first;
    };
    const auto in_values = [&](const Fragment& fragment) {
        return plan.ranges[fragment.range].flat.first + fragment.first;
    };
    const auto factors = [&](const Fragment& fragment) { return factors_of(plan.matrices[fragment.matrix]); };

    std::vector<Rectangle> own, travelling;
    sent.sizes = sort_fragments(
        plan.sent, rank,
        [&](const Fragment& p) {
            const auto [to, stride] = in_matrix(p);
            own.push_back({in_momentum(p), p.stride, to, stride, p.rows, p.columns});
        },
        [&](const Fragment& p, int64_t at) {
            travelling.push_back({in_momentum(p), p.stride, at, p.columns, p.rows, p.columns});
        });
    own_sent = {allocator, std::exchange(own, {})};
    sent.moves = {allocator, std::exchange(travelling, {})};
    received.sizes = sort_fragments(plan.received, rank, ignore, [&](const Fragment& p, int64_t at) {
        const auto [to, stride] = in_matrix(p);
        travelling.push_back({at, p.columns, to, stride, p.rows, p.columns});
    });
    received.moves = {allocator, std::exchange(travelling, {})};
    returned.sizes = sort_fragments(plan.returned, rank, ignore, [&](const Fragment& p, int64_t at) {
        const auto [from, stride] = in_matrix(p);
        travelling.push_back({from, stride, at, p.columns, p.rows, p.columns});
    });
    returned.moves = {allocator, std::exchange(travelling, {})};

    std::vector<ops::MuonFactors> own_factors, travelling_factors;
    applied_sizes = sort_fragments(
        plan.applied, rank,
        [&](const Fragment& p) {
            const auto [from, stride] = in_matrix(p);
            own.push_back({from, stride, in_values(p), p.stride, p.rows, p.columns});
            own_factors.push_back(factors(p));
        },
        [&](const Fragment& p, int64_t at) {
            travelling.push_back({at, p.columns, in_values(p), p.stride, p.rows, p.columns});
            travelling_factors.push_back(factors(p));
        });
    own_applied = {allocator, std::move(own), std::move(own_factors)};
    applied = {allocator, std::move(travelling), std::move(travelling_factors)};
}

} // namespace braid
