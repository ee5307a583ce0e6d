#include "data/blend.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace braid {

namespace {

std::vector<int64_t> divide_block(const std::vector<double>& weights) {
    double total = 0;
    for (double weight : weights) total += weight;
    std::vector<int64_t> quota;
    std::vector<double> remainder;
    for (double weight : weights) {
        const double share = weight / total * static_cast<double>(Blend::kBlock);
        const auto whole = std::max<int64_t>(1, static_cast<int64_t>(share));
        quota.push_back(whole);
        remainder.push_back(share - static_cast<double>(whole));
    }
    std::vector<size_t> order(weights.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return remainder[a] > remainder[b]; });
    int64_t missing = Blend::kBlock - std::accumulate(quota.begin(), quota.end(), int64_t{0});
    for (size_t i = 0; missing > 0; i = (i + 1) % order.size(), --missing) ++quota[order[i]];
    // Where many tiny weights were raised to 1, the largest share gives.
    for (; missing < 0; ++missing) --*std::max_element(quota.begin(), quota.end());
    return quota;
}

} // namespace

Blend::Blend(const std::vector<double>& weights) {
    check(!weights.empty() && weights.size() <= kMaxSources, "a blend of {} sources", weights.size());
    for (double weight : weights)
        check(std::isfinite(weight) && weight > 0, "a blend with the weight {}", weight);
    quota_ = divide_block(weights);
    if (weights.size() == 1) return;
    for (size_t k = 0; k < quota_.size(); ++k)
        for (int64_t j = 0; j < quota_[k]; ++j) block_.push_back({static_cast<int>(k), j});
    // (2a + 1) / (2 q_a) < (2b + 1) / (2 q_b), in integers.
    std::stable_sort(block_.begin(), block_.end(), [this](const Draw& a, const Draw& b) {
        return (2 * a.index + 1) * quota_[static_cast<size_t>(b.source)] <
               (2 * b.index + 1) * quota_[static_cast<size_t>(a.source)];
    });
}

Blend::Draw Blend::operator()(int64_t sample) const {
    check(sample >= 0, "sample {} of a blend", sample);
    if (block_.empty()) return {0, sample};
    const Draw& draw = block_[static_cast<size_t>(sample % kBlock)];
    return {draw.source, sample / kBlock * quota_[static_cast<size_t>(draw.source)] + draw.index};
}

std::vector<int64_t> Blend::counts(int64_t samples) const {
    check(samples >= 0, "the first {} samples of a blend", samples);
    if (block_.empty()) return {samples};
    std::vector<int64_t> result;
    for (const int64_t quota : quota_) result.push_back(samples / kBlock * quota);
    for (int64_t i = 0; i < samples % kBlock; ++i)
        ++result[static_cast<size_t>(block_[static_cast<size_t>(i)].source)];
    return result;
}

} // namespace braid
