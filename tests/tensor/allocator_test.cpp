#include "tensor/memory/allocator.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace braid {
namespace {

TEST(allocator, blocks_are_aligned_and_reused_in_their_size_class) {
    Allocator allocator;
    const Allocator::Block first = allocator.allocate(1000);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first.data) % Allocator::kAlignment, 0U);
    EXPECT_GE(first.bytes, 1000U);
    EXPECT_LE(first.bytes, 1000U * 9 / 8 + Allocator::kAlignment);
    allocator.release(first);
    const Allocator::Block again = allocator.allocate(first.bytes - 1);
    EXPECT_EQ(again.data, first.data);
    const Allocator::Block other = allocator.allocate(4 * first.bytes);
    EXPECT_NE(other.data, first.data);
    allocator.release(again);
    allocator.release(other);
}

TEST(allocator, counters_follow_what_is_held) {
    Allocator allocator;
    const Allocator::Block a = allocator.allocate(4096), b = allocator.allocate(4096);
    EXPECT_EQ(allocator.statistics().used_bytes, 8192);
    allocator.release(a);
    EXPECT_EQ(allocator.statistics().used_bytes, 4096);
    EXPECT_EQ(allocator.statistics().peak_used_bytes, 8192);
    EXPECT_EQ(allocator.statistics().reserved_bytes, 8192);
    allocator.reset_peaks();
    EXPECT_EQ(allocator.statistics().peak_used_bytes, 4096);
    allocator.trim();
    EXPECT_EQ(allocator.statistics().reserved_bytes, 4096);
    allocator.release(b);
}

TEST(allocator, the_limit_gives_back_what_is_unused_before_it_refuses) {
    Allocator allocator(Device(), 3 * 4096);
    const Allocator::Block a = allocator.allocate(2 * 4096);
    EXPECT_THROW(allocator.allocate(2 * 4096), Error);
    allocator.release(a);
    const Allocator::Block b = allocator.allocate(3 * 4096); // another size class: the first must go back
    EXPECT_EQ(allocator.statistics().reserved_bytes, 3 * 4096);
    allocator.release(b);
}

TEST(allocator, absurd_sizes_are_refused) {
    Allocator allocator;
    EXPECT_THROW(allocator.allocate(size_t{1} << 60), Error);
    EXPECT_EQ(allocator.statistics().used_bytes, 0);
}

} // namespace
} // namespace braid
