// Memory of the device under test, among the cases that run on a GPU too.

#include <gmock/gmock.h>

#include <cstdlib>

#include "base/error.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

TEST(device_memory, blocks_are_aligned) {
    Allocator allocator(test_device());
    const size_t alignment = test_device().kind == DeviceKind::cuda ? 256 : Allocator::kAlignment;
    for (const size_t bytes : {size_t{0}, size_t{1}, size_t{700}, 3 * kMiB + 1}) {
        const Allocator::Block first = allocator.allocate(bytes), second = allocator.allocate(bytes);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(first.data) % alignment, 0U);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(second.data) % alignment, 0U);
        allocator.release(first);
        allocator.release(second);
    }
}

TEST(device_memory, a_gpu_serves_other_sizes_from_what_came_back) {
    if (test_device().kind != DeviceKind::cuda) return; // the CPU keeps blocks by size
    if (std::getenv("BRAID_SEPARATE_BLOCKS")) GTEST_SKIP() << "each block is one of the device's";
    Allocator allocator(test_device());
    allocator.release(allocator.allocate(48 * kMiB));
    const auto all = allocator.statistics();
    EXPECT_EQ(all.used_bytes, 0);
    EXPECT_EQ(all.peak_used_bytes, 48 << 20);
    EXPECT_GE(all.reserved_bytes, 48 << 20);
    const Allocator::Block a = allocator.allocate(30 * kMiB), b = allocator.allocate(18 * kMiB);
    allocator.release(a);
    allocator.release(b);
    const Allocator::Block whole = allocator.allocate(48 * kMiB);
    EXPECT_EQ(whole.data, a.data);
    EXPECT_EQ(allocator.statistics().peak_reserved_bytes, all.reserved_bytes);
    allocator.release(whole);
    allocator.trim();
    EXPECT_EQ(allocator.statistics().reserved_bytes, 0);
}

TEST(device_memory, a_refusal_says_what_there_was) {
    Allocator allocator(test_device(), int64_t{64} << 20);
    allocator.release(allocator.allocate(40 * kMiB));
    const Allocator::Block block = allocator.allocate(60 * kMiB); // the first must go back
    try {
        allocator.allocate(5 * kMiB);
        FAIL() << "65 of 64 MiB were given";
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), ::testing::HasSubstr("5242880 bytes asked for, 62914560 bytes in use"));
        if (test_device().kind == DeviceKind::cuda) {
            EXPECT_THAT(error.what(),
                        ::testing::ContainsRegex("62914560 bytes reserved, .* 0; of the device's"));
        }
    }
    allocator.release(block);
}

TEST(device_memory, what_another_stream_still_reads_is_not_overwritten) {
    Allocator from(test_device()), to(test_device()), host;
    const Tensor y = Tensor::empty(to, {1 << 19}, DType::f32);
    const void* memory = nullptr;
    {
        const Tensor x = Tensor::empty(from, {1 << 19}, DType::f32);
        x.fill(2.5);
        memory = x.raw_data();
        copy(x, y);
    }
    Tensor::empty(from, {1 << 19}, DType::f32).fill(-1);
    for (const double value : to_vector(to_device(host, y).rows(0, 100))) ASSERT_EQ(value, 2.5);
    // Once the copy has run its source is free for others.
    to.stream().synchronize();
    if (test_device().kind == DeviceKind::cuda) {
        EXPECT_EQ(Tensor::empty(from, {1 << 19}, DType::f32).raw_data(), memory);
    }
}

} // namespace
} // namespace braid::testing
