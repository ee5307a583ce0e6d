#include "parallel/gpu_ranks.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "parallel/collectives.h"
#include "parallel/cuda/nccl_comm.h"
#include "tensor/memory/build_cuda.h"

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

/// NCCL refuses two ranks on one GPU of one host. It takes each rank for a host of its own where it is told
/// so, and then only sockets connect them. It reads these variables at its first call.
[[maybe_unused]] void let_nccl_share_gpus(Communicator& control, Device device) {
    if (!may_share_gpus()) return;
    std::vector<std::string> devices = all_gather_text(control, to_string(device));
    std::sort(devices.begin(), devices.end());
    if (std::adjacent_find(devices.begin(), devices.end()) == devices.end()) return;
    setenv("NCCL_HOSTID", fmt::format("braid-rank-{}", control.rank()).c_str(), 1);
    for (const auto& [name, value] : {std::pair("NCCL_NET", "Socket"),
                                      {"NCCL_SOCKET_IFNAME", "lo"},
                                      {"NCCL_P2P_DISABLE", "1"},
                                      {"NCCL_SHM_DISABLE", "1"}})
        setenv(name, value, 0); // what the user says stands
}

} // namespace

bool may_share_gpus() {
    const char* given = std::getenv("BRAID_SHARE_GPU");
    const std::string_view value = given ? given : "0";
    if (value != "0" && value != "1")
        throw ConfigError("the environment variable BRAID_SHARE_GPU: expected 0 or 1, found '{}'", value);
    return value == "1";
}

std::unique_ptr<Communicator> with_gpus([[maybe_unused]] std::unique_ptr<Communicator> host,
                                        [[maybe_unused]] Communicator& control, const Stream& compute) {
    if constexpr (kBuildCuda) {
        let_nccl_share_gpus(control, compute.device());
        return std::make_unique<RanksWithGpus>(std::move(host), nccl_communicator(control, compute));
    }
    throw InternalError("{}: this build has no CUDA", to_string(compute.device()));
}

} // namespace braid
