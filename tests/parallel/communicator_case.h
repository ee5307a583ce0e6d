#pragma once

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "parallel/communicator.h"

namespace braid::testing {

/// Moves parts of different sizes, some of them empty, between all ranks and checks every number.
inline void exercise_all_to_all(Communicator& comm) {
    // Rank r sends r + 2 s numbers to rank s: sizes differ, and some parts are empty.
    const int64_t rank = comm.rank(), size = comm.size();
    std::vector<int32_t> send;
    std::vector<int64_t> send_bytes, receive_bytes;
    int64_t total = 0;
    for (int64_t s = 0; s < size; ++s) {
        for (int64_t i = 0; i < rank + 2 * s; ++i)
            send.push_back(static_cast<int32_t>(1000 * rank + 100 * s + i));
        send_bytes.push_back(4 * (rank + 2 * s));
        receive_bytes.push_back(4 * (s + 2 * rank));
        total += s + 2 * rank;
    }
    std::vector<int32_t> received(static_cast<size_t>(total));
    const auto pending = comm.all_to_all(send.data(), send_bytes, received.data(), receive_bytes);
    while (!pending->poll()) std::this_thread::yield();
    pending->wait(); // waiting after a finished poll is allowed
    size_t at = 0;
    for (int64_t s = 0; s < size; ++s)
        for (int64_t i = 0; i < s + 2 * rank; ++i)
            ASSERT_EQ(received[at++], 1000 * s + 100 * rank + i) << "rank " << rank << " from " << s;
}

} // namespace braid::testing
