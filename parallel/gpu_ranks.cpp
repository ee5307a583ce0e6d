#include "parallel/gpu_ranks.h"

#include <utility>

#include "base/error.h"
#include "parallel/cuda/nccl_comm.h"

namespace braid {
namespace {

class RanksWithGpus : public Communicator {
  public:
    RanksWithGpus(std::unique_ptr<Communicator> host, std::unique_ptr<Communicator> device)
        : host_(std::move(host)), device_(std::move(device)) {
        check(host_->rank() == device_->rank() && host_->size() == device_->size(),
              "rank {} of {} is rank {} of {} on its GPU", host_->rank(), host_->size(), device_->rank(),
              device_->size());
    }

    int rank() const override { return host_->rank(); }
    int size() const override { return host_->size(); }
    std::unique_ptr<Pending> all_to_all(const void* send, std::span<const int64_t> send_bytes, void* receive,
                                        std::span<const int64_t> receive_bytes) override {
        return host_->all_to_all(send, send_bytes, receive, receive_bytes);
    }
    std::unique_ptr<Pending> all_gather(const void* send, void* receive,
                                        std::span<const int64_t> bytes) override {
        return host_->all_gather(send, receive, bytes);
    }
    std::unique_ptr<Pending> all_reduce_any_order(void* values, int64_t count, DType dtype) override {
        return host_->all_reduce_any_order(values, count, dtype);
    }
    std::unique_ptr<Communicator> split(int color, int key, const std::string& axis) override {
        auto host = host_->split(color, key, axis);
        return std::make_unique<RanksWithGpus>(std::move(host), device_->split(color, key, axis));
    }
    void set_operation(uint64_t operation) override { host_->set_operation(operation); }
    Communicator* on_device() override { return device_.get(); }

  private:
    std::unique_ptr<Communicator> host_, device_;
};

} // namespace

std::unique_ptr<Communicator> with_gpus([[maybe_unused]] std::unique_ptr<Communicator> host,
                                        [[maybe_unused]] Communicator& control, const Stream& compute) {
    if constexpr (kBuildCuda)
        return std::make_unique<RanksWithGpus>(std::move(host), nccl_communicator(control, compute));
    throw InternalError("{}: this build has no CUDA", to_string(compute.device()));
}

} // namespace braid
