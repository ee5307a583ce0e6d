#include "tensor/memory/host_wait.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <thread>
#include <vector>

namespace braid {
namespace {

using Clock = std::chrono::steady_clock;
// Until then a thread that sleeps would wake too late for what it waits for.
constexpr std::chrono::milliseconds kAwake{1};
constexpr std::chrono::microseconds kNap{20};
constexpr std::chrono::milliseconds kBetweenChecks{10};

std::vector<const std::function<void()>*>& checks() {
    static thread_local std::vector<const std::function<void()>*> all;
    return all;
}

std::atomic<int64_t> num_waits{0};

} // namespace

HostWaitCheck::HostWaitCheck(std::function<void()> check) : check_(std::move(check)) {
    checks().push_back(&check_);
}

HostWaitCheck::~HostWaitCheck() {
    std::erase(checks(), &check_);
}

void wait_on_host(const std::function<bool()>& reached) {
    ++num_waits;
    const auto start = Clock::now();
    auto last_check = start;
    while (!reached()) {
        const auto now = Clock::now();
        if (now - last_check >= kBetweenChecks) {
            last_check = now;
            // Where an error unwinds already, another would end the program.
            if (std::uncaught_exceptions() == 0)
                for (const auto* check : checks()) (*check)();
        }
        if (now - start < kAwake)
            std::this_thread::yield();
        else
            std::this_thread::sleep_for(kNap);
    }
}

int64_t num_host_waits() {
    return num_waits;
}

} // namespace braid
