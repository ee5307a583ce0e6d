#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ops/attention/attention_kernels.h"

namespace braid::ops::cpu {

/// Half-open.
struct Range {
    int64_t begin, end;
    int64_t size() const { return end - begin; }
};

/// A block of queries or keys of one span and one key/value head: what one thread takes at a time.
struct AttentionItem {
    int64_t span, head, block;
};

/// The rows of a tile: queries, each with all heads of its group.
struct TileRows {
    int64_t first, count; // rows of q
    int64_t position;     // of the first query in its span's keys
    int64_t head, group;  // the key/value head, and how many query heads share it
    int64_t size() const { return count * group; }
};

/// How attention is cut into tiles: query blocks by key blocks, both counted from the start of their span, a
/// tile's rows being the queries of all heads that share a key/value head. A function of the shapes alone.
class AttentionPlan {
  public:
    static constexpr int64_t kKeyBlock = 128;

    AttentionPlan(const AttentionProblem& problem, int64_t num_heads, int64_t num_kv_heads)
        : group(num_heads / num_kv_heads),
          num_kv_heads(num_kv_heads),
          query_block(std::clamp<int64_t>(kTargetRows / group, 16, 128)),
          problem_(problem) {
        for (const auto& span : problem.spans) {
            first_query_block_.push_back(num_query_blocks_);
            num_query_blocks_ += blocks(span.num_queries, query_block);
        }
    }

    const AttentionSpan& span(const AttentionItem& item) const {
        return problem_.spans[static_cast<size_t>(item.span)];
    }
    double scale() const { return problem_.scale; }
    int64_t max_rows() const { return query_block * group; }

    /// Blocks of queries, those with most keys first, so that threads end together.
    std::vector<AttentionItem> query_items() const {
        auto items =
            all_items([&](const AttentionSpan& span) { return blocks(span.num_queries, query_block); });
        std::stable_sort(items.begin(), items.end(), [&](const auto& a, const auto& b) {
            return keys_of(span(a), queries(a)).size() > keys_of(span(b), queries(b)).size();
        });
        return items;
    }
    /// Blocks of keys, those of one span and head in ascending order.
    std::vector<AttentionItem> key_items() const {
        auto items = all_items([&](const AttentionSpan& span) { return blocks(span.num_keys, kKeyBlock); });
        std::stable_sort(items.begin(), items.end(),
                         [](const auto& a, const auto& b) { return a.block < b.block; });
        return items;
    }

    TileRows rows(const AttentionItem& item) const {
        const Range range = queries(item);
        const AttentionSpan& at = span(item);
        return {at.query_begin + range.begin, range.size(), range.begin + at.num_keys - at.num_queries,
                item.head, group};
    }
    Range queries(const AttentionItem& item) const {
        return block_range(item.block, query_block, span(item).num_queries);
    }
    Range keys(const AttentionItem& item) const { return key_block(span(item), item.block); }
    Range key_block(const AttentionSpan& span, int64_t block) const {
        return block_range(block, kKeyBlock, span.num_keys);
    }

    /// The keys that these queries of the span see, which is a range.
    Range keys_of(const AttentionSpan& span, Range queries) const {
        const int64_t offset = span.num_keys - span.num_queries;
        return {first_key(queries.begin + offset), queries.end + offset};
    }
    /// The first key that position p of a span sees; the last is p.
    int64_t first_key(int64_t position) const {
        return problem_.window ? std::max<int64_t>(0, position - problem_.window + 1) : 0;
    }
    /// The queries of the span that see any of these keys.
    Range queries_of(const AttentionSpan& span, Range keys) const {
        const int64_t offset = span.num_keys - span.num_queries;
        const int64_t end =
            problem_.window ? std::min(span.num_keys, keys.end - 1 + problem_.window) : span.num_keys;
        return {std::max<int64_t>(0, keys.begin - offset), std::max<int64_t>(0, end - offset)};
    }

    /// Numbers the query blocks of all spans and heads.
    int64_t query_block_index(const AttentionItem& item) const {
        return (first_query_block_[static_cast<size_t>(item.span)] + item.block) * num_kv_heads + item.head;
    }
    int64_t num_query_items() const { return num_query_blocks_ * num_kv_heads; }

    const int64_t group; // query heads of one key/value head
    const int64_t num_kv_heads;
    const int64_t query_block; // tokens

  private:
    static constexpr int64_t kTargetRows = 256;

    static int64_t blocks(int64_t count, int64_t size) { return (count + size - 1) / size; }
    static Range block_range(int64_t block, int64_t size, int64_t count) {
        return {block * size, std::min(count, (block + 1) * size)};
    }
    template <typename Count>
    std::vector<AttentionItem> all_items(const Count& count_of) const {
        std::vector<AttentionItem> items;
        for (size_t i = 0; i < problem_.spans.size(); ++i)
            for (int64_t head = 0; head < num_kv_heads; ++head)
                for (int64_t block = 0; block < count_of(problem_.spans[i]); ++block)
                    items.push_back({static_cast<int64_t>(i), head, block});
        return items;
    }

    const AttentionProblem& problem_;
    std::vector<int64_t> first_query_block_;
    int64_t num_query_blocks_ = 0;
};

} // namespace braid::ops::cpu
