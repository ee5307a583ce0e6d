#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace braid {

/// Ends this process with exit code 6 and one line when it lives longer than `seconds` (0: for ever): for the
/// start of MPI, in which ranks wait for each other and no log says for whom. Time in which the process is
/// stopped does not count.
class StartLimit {
  public:
    StartLimit(int64_t seconds, std::string host);
    ~StartLimit();
    StartLimit(const StartLimit&) = delete;
    StartLimit& operator=(const StartLimit&) = delete;

  private:
    void watch();
    bool sleep(std::chrono::milliseconds time);

    const int64_t seconds_;
    const std::string host_;
    std::mutex mutex_;
    std::condition_variable ended_;
    bool end_ = false;
    std::thread thread_;
};

/// How many ranks those who started this process expect, by the environment's word: the launcher's, Open
/// MPI's, or where neither is there SLURM's. 1 where nobody says.
int expected_ranks();

/// What BRAID_START_SECONDS says, else 300.
int64_t start_limit_seconds();

/// Throws where MPI's world has another size than `expected`: each rank would train alone, and all would
/// write to one run folder.
void check_world_size(int size, int expected, const std::string& host);

} // namespace braid
