#pragma once

#include <type_traits>
#include <utility>

#include "tensor/memory/build_cuda.h"
#include "tensor/tensor.h"

namespace braid::ops {

/// The device of the first defined tensor among the arguments of a kernel.
template <typename First, typename... Rest>
Device device_of(const First& first, const Rest&... rest) {
    if constexpr (std::is_same_v<First, Tensor>)
        if (first.defined()) return first.device();
    if constexpr (sizeof...(Rest) > 0)
        return device_of(rest...);
    else
        throw InternalError("a kernel was called without a tensor");
}

template <typename Function>
struct Kernel;

/// A kernel on every device of this build; the device of its tensors says which one runs.
template <typename Result, typename... Parameters>
struct Kernel<Result(Parameters...)> {
    Result (*on_cpu)(Parameters...);
    Result (*on_gpu)(Parameters...);

    Result operator()(Parameters... arguments) const {
        const Device device = device_of(arguments...);
        if constexpr (kBuildCuda)
            if (device.kind == DeviceKind::cuda) return on_gpu(static_cast<Parameters>(arguments)...);
        check(device.kind == DeviceKind::cpu, "a kernel was called on {}, which this build lacks",
              to_string(device));
        return on_cpu(static_cast<Parameters>(arguments)...);
    }
};

} // namespace braid::ops

/// For a kernel that ops::cpu declares: the same in ops::cuda, and in ops::device the one of them that its
/// arguments ask for.
#if BRAID_CUDA
#define BRAID_KERNEL(name)                                                      \
    namespace cuda {                                                            \
    decltype(cpu::name) name;                                                   \
    }                                                                           \
    namespace device {                                                          \
    inline constexpr Kernel<decltype(cpu::name)> name{&cpu::name, &cuda::name}; \
    }
#else
#define BRAID_KERNEL(name)                                                  \
    namespace device {                                                      \
    inline constexpr Kernel<decltype(cpu::name)> name{&cpu::name, nullptr}; \
    }
#endif
