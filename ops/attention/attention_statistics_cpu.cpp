#include <cmath>
#include <limits>

#include "ops/attention/attention_tiles_cpu.h"

namespace braid::ops::cpu {
namespace {

/// Of the rows of one query: what is known of a softmax after some of its logits s.
struct RowStatistics {
    double max = -std::numeric_limits<double>::infinity();
    double sum = 0;      // of e^(s - max)
    double weighted = 0; // of e^(s - max) (s - max)

    template <typename T>
    void add(const T* s, int64_t count) {
        double top = max;
        for (int64_t c = 0; c < count; ++c) top = std::max(top, static_cast<double>(s[c]));
        if (sum > 0) {
            const double shift = max - top, factor = std::exp(shift);
            weighted = factor * (weighted + shift * sum);
            sum *= factor;
        }
        max = top;
        for (int64_t c = 0; c < count; ++c) {
            const double x = static_cast<double>(s[c]) - max, e = std::exp(x);
            sum += e;
            weighted += e * x;
        }
    }
    /// -sum p log p with log p = s - max - log(sum).
    double entropy() const { return std::log(sum) - weighted / sum; }
};

template <typename T>
struct StatisticsTiles {
    T *q, *k, *logits;
    RowStatistics* rows;
    VisibleColumns* visible;

    StatisticsTiles(Carver& carver, int64_t num_rows, int64_t key_size)
        : q(carver.take<T>(num_rows * key_size)),
          k(carver.take<T>(AttentionPlan::kKeyBlock * key_size)),
          logits(carver.take<T>(num_rows * kLogitStride)),
          rows(carver.take<RowStatistics>(num_rows)),
          visible(carver.take<VisibleColumns>(num_rows)) {}
};

/// The statistics of every row of a query block, in tiles.rows.
template <typename T>
void scan(const AttentionPlan& plan, const AttentionItem& item, const Tensor& q, const Tensor& k,
          const StatisticsTiles<T>& tiles) {
    const AttentionSpan& span = plan.span(item);
    const TileRows rows = plan.rows(item);
    const Range seen = plan.keys_of(span, plan.queries(item));
    gather_tile(q, rows, static_cast<T>(plan.scale()), tiles.q);
    std::fill_n(tiles.rows, rows.size(), RowStatistics());
    for (int64_t first = seen.begin; first < seen.end; first += AttentionPlan::kKeyBlock) {
        const Range keys = {first, std::min(first + AttentionPlan::kKeyBlock, seen.end)};
        transpose_head(k, span.key_begin + first, keys.size(), item.head, tiles.k);
        tile_gemm(rows.size(), keys.size(), k.dim(2), tiles.q, k.dim(2), 1, tiles.k, keys.size(),
                  tiles.logits, kLogitStride, false);
        find_visible(plan, rows, keys, tiles.visible);
        for (int64_t r = 0; r < rows.size(); ++r)
            if (const auto [begin, end] = tiles.visible[r]; begin < end)
                tiles.rows[r].add(tiles.logits + r * kLogitStride + begin, end - begin);
    }
}

} // namespace

void attention_statistics(Allocator& allocator, const AttentionProblem& problem, const Tensor& q,
                          const Tensor& k, const Tensor& max_logit, const Tensor& mean_entropy) {
    const AttentionPlan plan(problem, q.dim(1), k.dim(1));
    const auto items = plan.query_items();
    // By block and head, then summed in the order of the blocks.
    std::vector<double> tops(items.size() * static_cast<size_t>(plan.group),
                             -std::numeric_limits<double>::infinity());
    std::vector<double> entropies(tops.size(), 0);
    const Tensor wide_q = widened(q), wide_k = widened(k);
    dispatch_float(wide_q.dtype(), [&]<typename T>() {
        const TileScratch<StatisticsTiles<T>> scratch(allocator, plan.max_rows(), k.dim(2));
#pragma omp parallel for schedule(dynamic)
        for (size_t i = 0; i < items.size(); ++i) {
            const StatisticsTiles<T>& tiles = scratch.mine();
            scan(plan, items[i], wide_q, wide_k, tiles);
            const int64_t rows = plan.rows(items[i]).size();
            for (int64_t r = 0; r < rows; ++r) {
                const size_t to = i * static_cast<size_t>(plan.group) + static_cast<size_t>(r % plan.group);
                tops[to] = std::max(tops[to], tiles.rows[r].max);
                entropies[to] += tiles.rows[r].entropy();
            }
        }
    });
    const auto top = max_logit.span<double>(), entropy = mean_entropy.span<double>();
    std::fill(top.begin(), top.end(), -std::numeric_limits<double>::infinity());
    std::fill(entropy.begin(), entropy.end(), 0.0);
    for (size_t i = 0; i < tops.size(); ++i) {
        const auto group = static_cast<size_t>(plan.group);
        const size_t head = static_cast<size_t>(items[i / group].head) * group + i % group;
        top[head] = std::max(top[head], tops[i]);
        entropy[head] += entropies[i];
    }
    const auto tokens = static_cast<double>(std::max<int64_t>(q.dim(0), 1));
    for (double& sum : entropy) sum /= tokens;
}

} // namespace braid::ops::cpu
