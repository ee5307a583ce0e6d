#include "trainer/training/update_norms.h"

#include <array>
#include <cmath>

#include "ops/basic/elementwise.h"
#include "ops/basic/reduce.h"
#include "parallel/collectives.h"
#include "tensor/host_values.h"

namespace braid {

UpdateNorms::UpdateNorms(const ParameterStore& store, Allocator& allocator)
    : store_(store), allocator_(allocator) {
    int64_t num_shares = 0;
    for (size_t unit = 0; unit < store.units().size(); ++unit) {
        first_share_.push_back(num_shares);
        auto& shares = shares_.emplace_back();
        for (const PlacedSection& section : store.sections(static_cast<int>(unit)))
            for (const Bucket& bucket : store.units()[unit]->buckets) {
                if (!bucket.counted) continue;
                const FlatRange part = overlap(store.owned_range(bucket), section->flat());
                // An empty one as well: all ranks are to have the same sites.
                shares.push_back({{section->spec.layer, section->spec.sublayer}, part.first, part.numel()});
            }
        num_shares += static_cast<int64_t>(shares.size());
    }
    for (Tensor* sums : {&update_squares_, &value_squares_}) {
        *sums = Tensor::empty(allocator, {num_shares}, DType::f64);
        sums->fill(0);
    }
}

void UpdateNorms::add_squares(int unit, const Tensor& values, const Tensor& sums) const {
    const auto u = static_cast<size_t>(unit);
    for (size_t i = 0; i < shares_[u].size(); ++i) {
        const Share& share = shares_[u][i];
        if (share.size > 0)
            ops::sum_of_squares(values.rows(share.first, share.size),
                                sums.rows(first_share_[u] + static_cast<int64_t>(i), 1));
    }
}

void UpdateNorms::before(int unit) {
    const Tensor& values = store_.units()[static_cast<size_t>(unit)]->values;
    kept_ = Tensor::empty(allocator_, values.shape(), values.dtype());
    copy(values, kept_);
    add_squares(unit, kept_, value_squares_);
}

void UpdateNorms::after(int unit) {
    Context ctx;
    ctx.allocator = &allocator_;
    const Tensor change =
        ops::add(ctx, store_.units()[static_cast<size_t>(unit)]->values, ops::scale(ctx, kept_, -1));
    add_squares(unit, change, update_squares_);
    kept_ = {};
}

std::map<std::pair<int, std::string>, double> UpdateNorms::ratios(Communicator& world) const {
    std::map<std::pair<int, std::string>, std::array<double, 2>> sums;
    const std::vector<double> updates = host_values<double>(update_squares_),
                              values = host_values<double>(value_squares_);
    size_t i = 0;
    for (const auto& shares : shares_)
        for (const Share& share : shares) {
            auto& squares = sums[share.site];
            squares[0] += updates[i];
            squares[1] += values[i++];
        }
    std::vector<double> flat; // every rank has the same sites in the same order
    for (const auto& [site, squares] : sums) flat.insert(flat.end(), squares.begin(), squares.end());
    all_reduce_sum(world, std::span(flat));
    std::map<std::pair<int, std::string>, double> ratios;
    auto next = flat.begin();
    for (const auto& [site, squares] : sums) {
        ratios[site] = next[1] > 0 ? std::sqrt(next[0] / next[1]) : 0;
        next += 2;
    }
    return ratios;
}

} // namespace braid
