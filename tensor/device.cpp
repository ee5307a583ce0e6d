#include "tensor/device.h"

#include <fmt/core.h>

namespace braid {

std::string to_string(Device device) {
    return device.kind == DeviceKind::cpu ? "cpu" : fmt::format("cuda:{}", device.index);
}

} // namespace braid
