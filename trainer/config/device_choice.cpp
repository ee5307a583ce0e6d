#include "trainer/config/device_choice.h"

#include "base/error.h"
#include "parallel/gpu_ranks.h"
#include "tensor/memory/build_cuda.h"

namespace braid {

Device choose_device(DeviceChoice choice, int node_rank, int node_size, std::string_view key) {
    if (choice == DeviceChoice::cpu) return {};
    const int gpus = num_cuda_devices();
    if (choice == DeviceChoice::automatic && gpus < node_size) return {};
    if constexpr (!kBuildCuda)
        throw ConfigError("{}: cuda: this build has no CUDA (BRAID_CUDA=OFF); expected cpu or auto", key);
    if (gpus > 0 && gpus < node_size && may_share_gpus()) return {DeviceKind::cuda, node_rank % gpus};
    if (gpus < node_size)
        throw ConfigError("{}: cuda: expected a GPU for each of the {} ranks of this machine, found {}", key,
                          node_size, gpus);
    return {DeviceKind::cuda, node_rank};
}

} // namespace braid
