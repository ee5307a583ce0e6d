#include "trainer/run/lone_work.h"

#include <algorithm>
#include <exception>

#include "parallel/agreement.h"
#include "parallel/collectives.h"

namespace braid {
namespace {

using Clock = std::chrono::steady_clock;

/// What rank 0 says of itself, on every rank.
bool works_on(Communicator& world, bool working) {
    double value = working ? 1 : 0;
    all_reduce_max(world, std::span(&value, 1));
    return value > 0;
}

} // namespace

std::string from_rank_0(Communicator& world, std::chrono::milliseconds interval,
                        const std::function<std::string(const std::function<void()>& tick)>& body) {
    std::string text;
    std::exception_ptr failure;
    if (world.rank() == 0) {
        Clock::time_point last = Clock::now();
        bool speaking = false;
        const auto tick = [&] {
            if (Clock::now() - last < interval) return;
            speaking = true;
            works_on(world, true);
            speaking = false;
            last = Clock::now();
        };
        try {
            text = body(tick);
        } catch (...) {
            if (speaking) throw; // the others cannot be reached
            failure = std::current_exception();
        }
        works_on(world, false);
    } else {
        while (works_on(world, false)) {
        }
    }
    agree(world, [&] {
        if (failure) std::rethrow_exception(failure);
    });
    return all_gather_text(world, text)[0];
}

std::chrono::milliseconds sign_of_life_interval(int64_t watchdog_seconds) {
    constexpr std::chrono::milliseconds kLongest{10'000};
    if (watchdog_seconds <= 0) return kLongest;
    return std::min(kLongest, std::chrono::milliseconds(250 * std::min<int64_t>(watchdog_seconds, 40)));
}

} // namespace braid
