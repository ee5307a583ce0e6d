#pragma once

#include <chrono>
#include <functional>

#include "parallel/communicator.h"

namespace braid {

/// Runs `body` once per rank, each on a thread of its own with one OpenMP thread, joined by a communicator.
/// Meant for tests and `verify`. If a rank throws, the collectives of the others throw CommError within
/// moments, and the first exception that is not such a consequence is rethrown here. A rank that waits longer
/// than `limit` for a message throws CommError naming the ranks that are missing.
void run_thread_ranks(int num_ranks, const std::function<void(Communicator&)>& body,
                      std::chrono::seconds limit = std::chrono::seconds(60));

} // namespace braid
