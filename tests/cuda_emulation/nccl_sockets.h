#pragma once

#include <atomic>
#include <string>
#include <vector>

namespace cuda_emulation {

/// A message of a rank to another, or from it; bytes has its size either way.
struct Message {
    bool is_send;
    int peer;
    std::vector<char> bytes;
};

/// Ranks connected by sockets of this machine, each with each.
class Sockets {
  public:
    /// Returns when all ranks of that name have come.
    Sockets(std::string name, int rank, int size);
    ~Sockets();
    Sockets(const Sockets&) = delete;

    int rank() const { return rank_; }
    int size() const { return static_cast<int>(sockets_.size()); }
    const std::string& name() const { return name_; }

    /// Sends and receives all; of several between two ranks, in their order. False where a rank has gone, or
    /// after abort(). A message of another size than its receiver expects ends the program.
    bool exchange(std::vector<Message>& messages);
    /// From any thread.
    void abort() { aborted_ = true; }
    bool aborted() const { return aborted_; }

  private:
    const std::string name_;
    const int rank_;
    std::vector<int> sockets_; // by rank; -1 for oneself
    std::atomic<bool> aborted_{false};
};

} // namespace cuda_emulation
