#pragma once

#include "parallel/thread_comm.h"
#include "parallel/traced_comm.h"

namespace braid::testing {

/// A rank's communicator on the shoulders of one that someone else owns, so that it can be traced.
class BorrowedCommunicator : public Communicator {
  public:
    explicit BorrowedCommunicator(Communicator& inner) : inner_(inner) {}
    int rank() const override { return inner_.rank(); }
    int size() const override { return inner_.size(); }
    std::unique_ptr<Pending> all_to_all(const void* send, std::span<const int64_t> send_bytes, void* receive,
                                        std::span<const int64_t> receive_bytes) override {
        return inner_.all_to_all(send, send_bytes, receive, receive_bytes);
    }
    std::unique_ptr<Pending> all_gather(const void* send, void* receive,
                                        std::span<const int64_t> bytes) override {
        return inner_.all_gather(send, receive, bytes);
    }
    std::unique_ptr<Pending> all_reduce_any_order(void* values, int64_t count, DType dtype) override {
        return inner_.all_reduce_any_order(values, count, dtype);
    }
    std::unique_ptr<Communicator> split(int color, int key, const std::string& axis) override {
        return inner_.split(color, key, axis);
    }
    void set_operation(uint64_t operation) override { inner_.set_operation(operation); }

  private:
    Communicator& inner_;
};

/// run_thread_ranks with what each rank does recorded.
inline void run_traced_ranks(int num_ranks, const std::function<void(Communicator&, CollectiveLog&)>& body,
                             std::chrono::seconds limit = std::chrono::seconds(60)) {
    run_thread_ranks(
        num_ranks,
        [&](Communicator& comm) {
            CollectiveLog log(comm.rank());
            const auto world =
                traced_communicator(std::make_unique<BorrowedCommunicator>(comm), log, "world");
            body(*world, log);
        },
        limit);
}

} // namespace braid::testing
