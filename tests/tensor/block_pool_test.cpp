#include "tensor/memory/block_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>

namespace braid {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

/// Addresses without memory. Segments follow one another without a gap, so that a block joined with one of
/// another segment would show.
class FakeSource : public SegmentSource {
  public:
    explicit FakeSource(size_t capacity = size_t{1} << 50) : left_(capacity) {}
    void* take(size_t bytes) override {
        if (bytes > left_) return nullptr;
        left_ -= bytes;
        ++num_taken;
        const uintptr_t at = next_;
        next_ += bytes;
        segments[at] = bytes;
        return reinterpret_cast<void*>(at);
    }
    void give_back(void* segment, size_t bytes) override {
        const auto found = segments.find(reinterpret_cast<uintptr_t>(segment));
        ASSERT_NE(found, segments.end());
        EXPECT_EQ(found->second, bytes);
        segments.erase(found);
        left_ += bytes;
        ++num_given_back;
    }

    std::map<uintptr_t, size_t> segments; // their bytes, by address
    int num_taken = 0, num_given_back = 0;

  private:
    size_t left_;
    uintptr_t next_ = uintptr_t{1} << 40;
};

uintptr_t address(void* data) {
    return reinterpret_cast<uintptr_t>(data);
}

TEST(block_pool, a_request_takes_the_best_fit_and_leaves_the_rest) {
    FakeSource source;
    BlockPool pool(source);
    void* const a = pool.allocate(8 * kMiB);
    void* const between = pool.allocate(kMiB + 1);
    void* const b = pool.allocate(4 * kMiB);
    void* const behind = pool.allocate(2 * kMiB); // of the segment's 32 MiB nearly 17 are left behind it
    EXPECT_EQ(source.num_taken, 1);
    EXPECT_EQ(address(between), address(a) + 8 * kMiB);
    pool.release(a);
    pool.release(b);
    EXPECT_EQ(pool.allocate(3 * kMiB), b); // not the lower one of 8 MiB, nor the larger rest
    EXPECT_EQ(pool.allocate(5 * kMiB), a);
    EXPECT_EQ(pool.allocate(3 * kMiB), static_cast<std::byte*>(a) + 5 * kMiB);
    EXPECT_EQ(address(pool.allocate(17 * kMiB - kMiB - 512)), address(behind) + 2 * kMiB);
    EXPECT_EQ(source.num_taken, 1);
}

TEST(block_pool, what_comes_back_is_joined_with_its_neighbours_but_not_across_segments) {
    FakeSource source;
    BlockPool pool(source);
    std::vector<void*> blocks;
    for (int i = 0; i < 8; ++i) blocks.push_back(pool.allocate(8 * kMiB)); // two segments, side by side
    EXPECT_EQ(source.num_taken, 2);
    for (const size_t i : {1U, 6U, 3U, 0U, 2U, 5U, 7U}) pool.release(blocks[i]);
    EXPECT_EQ(pool.num_free_blocks(), 2U);
    EXPECT_EQ(pool.largest_free_bytes(), 32 * kMiB);
    pool.release(blocks[4]);
    EXPECT_EQ(pool.num_free_blocks(), 2U);
    EXPECT_EQ(pool.allocate(32 * kMiB), blocks[0]);
    pool.allocate(33 * kMiB);
    EXPECT_EQ(source.num_taken, 3);
}

TEST(block_pool, requests_are_rounded_and_small_ones_stay_among_themselves) {
    FakeSource source;
    BlockPool pool(source);
    void* const a = pool.allocate(0);
    EXPECT_EQ(address(pool.allocate(513)), address(a) + BlockPool::kAlignment);
    EXPECT_EQ(address(pool.allocate(1)), address(a) + 3 * BlockPool::kAlignment);
    void* const large = pool.allocate(2 * kMiB);
    EXPECT_EQ(source.segments.at(address(a)), BlockPool::kSmallSegmentBytes);
    EXPECT_EQ(source.segments.at(address(large)), BlockPool::kLargeSegmentBytes);
    EXPECT_EQ(source.segments.at(address(pool.allocate(101 * kMiB))), 102 * kMiB);
}

TEST(block_pool, a_block_used_elsewhere_is_kept_until_that_has_passed) {
    FakeSource source;
    BlockPool pool(source);
    bool first = false, second = false;
    void* const a = pool.allocate(8 * kMiB);
    pool.record_use(a, [&] { return first; });
    pool.record_use(a, [&] { return second; });
    pool.release(a);
    void* const b = pool.allocate(8 * kMiB);
    EXPECT_NE(b, a);
    first = true;
    EXPECT_NE(pool.allocate(8 * kMiB), a);
    second = true;
    EXPECT_EQ(pool.allocate(8 * kMiB), a);
    pool.release(a); // its uses are forgotten
    EXPECT_EQ(pool.allocate(8 * kMiB), a);
}

TEST(block_pool, a_wait_for_blocks_in_flight_comes_before_all_that_costs_more) {
    FakeSource source(72 * kMiB);
    BlockPool pool(source);
    void* const a = pool.allocate(32 * kMiB);
    pool.release(pool.allocate(kMiB)); // a segment that is free but of no use here
    int asked = 0;
    pool.record_use(a, [&] { return ++asked > 100; });
    EXPECT_NE(pool.allocate(38 * kMiB), nullptr);
    pool.release(a);
    EXPECT_EQ(pool.allocate(32 * kMiB), a);
    EXPECT_GT(asked, 100);
    EXPECT_EQ(source.num_given_back, 0);
}

TEST(block_pool, segments_go_back_only_when_the_source_refuses_and_only_as_many_as_are_missing) {
    FakeSource source(200 * kMiB);
    BlockPool pool(source);
    std::vector<void*> blocks;
    for (const size_t size : {64, 34, 48, 32}) blocks.push_back(pool.allocate(size * kMiB));
    for (void* block : blocks) pool.release(block);
    EXPECT_EQ(source.num_given_back, 0);
    EXPECT_NE(pool.allocate(80 * kMiB), nullptr); // 22 are left: the 64 and one more
    EXPECT_EQ(source.num_given_back, 2);
    EXPECT_EQ(pool.num_segments(), 3U);
    EXPECT_EQ(pool.allocate(200 * kMiB), nullptr);
    EXPECT_EQ(pool.num_segments(), 1U);
}

TEST(block_pool, a_step_that_was_served_once_is_served_again_without_the_source) {
    FakeSource source(256 * kMiB);
    BlockPool pool(source);
    const auto step = [&] {
        std::vector<void*> saved;
        for (size_t i = 1; i <= 12; ++i) {
            void* const passing = pool.allocate(i * kMiB + 4096);
            saved.push_back(pool.allocate(i * kMiB / 2));
            ASSERT_NE(saved.back(), nullptr);
            pool.release(passing);
        }
        for (; !saved.empty(); saved.pop_back()) pool.release(saved.back());
    };
    step();
    const int taken = source.num_taken;
    for (int i = 0; i < 10; ++i) step();
    EXPECT_EQ(source.num_taken, taken);
    EXPECT_EQ(source.num_given_back, 0);
}

TEST(block_pool, near_the_end_a_segment_may_be_just_large_enough_and_small_requests_take_of_large_ones) {
    FakeSource source(40 * kMiB);
    BlockPool pool(source);
    void* const a = pool.allocate(30 * kMiB);
    EXPECT_NE(pool.allocate(8 * kMiB), nullptr); // of a segment of 8 MiB: no other has room
    EXPECT_EQ(source.num_taken, 2);
    EXPECT_EQ(address(pool.allocate(100)) / kMiB, address(a) / kMiB + 30); // where 2 MiB are free
}

TEST(block_pool, separate_blocks_share_nothing_and_are_not_kept) {
    FakeSource source;
    BlockPool pool(source, BlockPool::Segments::one_per_block);
    void* const a = pool.allocate(100);
    EXPECT_EQ(source.segments.at(address(a)), 112U);
    pool.release(a);
    void* const b = pool.allocate(3 * kMiB);
    EXPECT_EQ(source.num_given_back, 1);
    EXPECT_EQ(source.segments.size(), 1U);
    pool.release(b);
    pool.trim();
    EXPECT_TRUE(source.segments.empty());
}

/// What a pool should do, from the blocks that are held alone.
struct Reference {
    struct Held {
        size_t bytes = 0;
        std::shared_ptr<bool> use_ended; // of a released one that is used elsewhere; null for one in use
    };
    std::map<uintptr_t, Held> held;

    /// The lowest of the smallest gaps that hold `bytes`, in segments of that kind.
    std::optional<uintptr_t> best_fit(const FakeSource& source, size_t bytes, bool is_small) const {
        std::optional<std::pair<size_t, uintptr_t>> best;
        for (const auto& [start, size] : source.segments) {
            if ((size == BlockPool::kSmallSegmentBytes) != is_small) continue;
            uintptr_t at = start;
            const auto look = [&](uintptr_t end) {
                if (end - at >= bytes && end > at && (!best || std::pair(end - at, at) < *best))
                    best = {end - at, at};
            };
            for (auto block = held.lower_bound(start); block != held.end() && block->first < start + size;
                 ++block) {
                look(block->first);
                at = block->first + block->second.bytes;
            }
            look(start + size);
        }
        return best ? std::optional(best->second) : std::nullopt;
    }
};

TEST(block_pool, random_requests_are_served_as_a_plain_reference_says) {
    FakeSource source;
    BlockPool pool(source);
    Reference reference;
    std::mt19937_64 random(1);
    std::vector<uintptr_t> in_use;
    std::vector<std::shared_ptr<bool>> uses;
    const auto allocate = [&] {
        const bool is_small = random() % 2 == 0;
        const size_t bytes = is_small ? random() % kMiB + 1 : kMiB + 1 + random() % (40 * kMiB);
        const size_t rounded = pool.rounded(bytes);
        std::erase_if(reference.held,
                      [](const auto& block) { return block.second.use_ended && *block.second.use_ended; });
        const auto expected = reference.best_fit(source, rounded, is_small);
        const int taken = source.num_taken;
        const uintptr_t data = address(pool.allocate(bytes));
        ASSERT_EQ(data, expected.value_or(source.segments.rbegin()->first));
        ASSERT_EQ(source.num_taken - taken, expected ? 0 : 1);
        reference.held[data] = {rounded, nullptr};
        in_use.push_back(data);
    };
    const auto release = [&] {
        std::swap(in_use[random() % in_use.size()], in_use.back());
        const uintptr_t data = in_use.back();
        in_use.pop_back();
        if (random() % 4 == 0) {
            uses.push_back(std::make_shared<bool>(false));
            pool.record_use(reinterpret_cast<void*>(data), [use = uses.back()] { return *use; });
            reference.held[data].use_ended = uses.back();
        } else {
            reference.held.erase(data);
        }
        pool.release(reinterpret_cast<void*>(data));
    };
    for (int i = 0; i < 4000; ++i) {
        if (in_use.empty() || random() % 100 < (i / 500 % 2 == 0 ? 60U : 40U))
            ASSERT_NO_FATAL_FAILURE(allocate());
        else
            release();
        if (!uses.empty() && random() % 4 == 0) *uses[random() % uses.size()] = true;
    }
    while (!in_use.empty()) release();
    for (const auto& use : uses) *use = true;
    const size_t segments = source.segments.size();
    pool.release(pool.allocate(1)); // looks at uses
    EXPECT_EQ(pool.num_free_blocks(), segments);
    pool.trim();
    EXPECT_TRUE(source.segments.empty());
    EXPECT_EQ(pool.num_free_blocks(), 0U);
}

} // namespace
} // namespace braid
