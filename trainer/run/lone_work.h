#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "parallel/communicator.h"

namespace braid {

/// The text that `body` makes on rank 0, on every rank; a failure there is an AgreedError everywhere. Those
/// who wait would take a rank that works long for stuck, so the body calls its argument often, and each
/// `interval` that becomes a sign of life to the others.
std::string from_rank_0(Communicator& world, std::chrono::milliseconds interval,
                        const std::function<std::string(const std::function<void()>& tick)>& body);

/// An interval at which no watchdog with this limit (0: none) ends the job.
std::chrono::milliseconds sign_of_life_interval(int64_t watchdog_seconds);

} // namespace braid
