#include "tensor/memory/host_wait.h"

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <thread>

namespace braid::testing {
namespace {

using namespace std::chrono_literals;

TEST(host_wait, ends_when_what_it_waits_for_is_there_and_is_counted) {
    const int64_t before = num_host_waits();
    int looks = 0;
    wait_on_host([&] { return ++looks > 3; });
    EXPECT_EQ(looks, 4);
    wait_on_host([] { return true; });
    EXPECT_EQ(num_host_waits() - before, 2);
}

TEST(host_wait, a_check_ends_what_would_never_end) {
    const HostWaitCheck harmless([] {});
    int checked = 0;
    const HostWaitCheck check([&] {
        if (++checked == 3) throw std::runtime_error("a rank is gone");
    });
    EXPECT_THROW(wait_on_host([] { return false; }), std::runtime_error);
    EXPECT_EQ(checked, 3);
}

TEST(host_wait, a_check_is_asked_on_its_own_thread_and_while_it_lives) {
    {
        const HostWaitCheck check([] { throw std::runtime_error("asked"); });
        std::thread([] {
            const auto end = std::chrono::steady_clock::now() + 50ms;
            wait_on_host([&] { return std::chrono::steady_clock::now() >= end; });
        }).join();
    }
    const auto end = std::chrono::steady_clock::now() + 50ms;
    wait_on_host([&] { return std::chrono::steady_clock::now() >= end; });
}

} // namespace
} // namespace braid::testing
