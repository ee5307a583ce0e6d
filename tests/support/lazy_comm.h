#pragma once

#include <memory>
#include <string>

#include "parallel/communicator.h"

namespace braid::testing {

/// The slowest transport there may be: what a collective brings is in place once it has been waited for, and
/// not a moment before. Code that forgets to wait reads what was there.
class LazyCommunicator : public Communicator {
  public:
    /// `inner` must outlive this.
    explicit LazyCommunicator(Communicator& inner) : inner_(inner) {}

    int rank() const override { return inner_.rank(); }
    int size() const override { return inner_.size(); }
    std::unique_ptr<Pending> all_to_all(const void* send, std::span<const int64_t> send_bytes, void* receive,
                                        std::span<const int64_t> receive_bytes) override {
        return lazy(inner_.all_to_all(send, send_bytes, receive, receive_bytes));
    }
    std::unique_ptr<Pending> all_gather(const void* send, void* receive,
                                        std::span<const int64_t> bytes) override {
        return lazy(inner_.all_gather(send, receive, bytes));
    }
    std::unique_ptr<Pending> all_reduce_any_order(void* values, int64_t count, DType dtype) override {
        return lazy(inner_.all_reduce_any_order(values, count, dtype));
    }
    std::unique_ptr<Communicator> split(int color, int key, const std::string& axis) override {
        struct Owner {
            std::unique_ptr<Communicator> part;
        };
        struct LazyPart : Owner, LazyCommunicator {
            explicit LazyPart(std::unique_ptr<Communicator> inner)
                : Owner{std::move(inner)}, LazyCommunicator(*part) {}
        };
        return std::make_unique<LazyPart>(inner_.split(color, key, axis));
    }
    void set_operation(uint64_t operation) override { inner_.set_operation(operation); }
    CollectiveLog* log() override { return inner_.log(); }

  private:
    struct LazyPending : Pending {
        explicit LazyPending(std::unique_ptr<Pending> inner) : inner_(std::move(inner)) {}
        bool poll() override { return waited_; }
        void wait() override {
            inner_->wait();
            waited_ = true;
        }
        bool wait_for(std::chrono::nanoseconds) override {
            wait();
            return true;
        }
        std::vector<int> missing() override { return inner_->missing(); }
        std::unique_ptr<Pending> inner_;
        bool waited_ = false;
    };
    static std::unique_ptr<Pending> lazy(std::unique_ptr<Pending> inner) {
        return std::make_unique<LazyPending>(std::move(inner));
    }

    Communicator& inner_;
};

} // namespace braid::testing
