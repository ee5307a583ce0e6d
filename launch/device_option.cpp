#include "launch/device_option.h"

#include "base/enum_names.h"
#include "trainer/config/device_choice.h"

namespace braid {
namespace {

Stream stream_on(const std::string& device, int node_rank, int node_size) {
    return Stream(choose_device(*from_name<DeviceChoice>(device), node_rank, node_size, "--device"));
}

} // namespace

void add_device_option(Command command, std::string& device) {
    constexpr auto names = enum_names(DeviceChoice{});
    device = names[0];
    command
        .option("--device", device,
                "Where the arithmetic runs; auto is cuda where every rank of a machine has a GPU")
        .one_of({names.begin(), names.end()})
        .show_default();
}

Stream chosen_device(const std::string& device) {
    return stream_on(device, 0, 1);
}

Stream chosen_device(const std::string& device, const MpiSession& session) {
    return stream_on(device, session.node_rank(), session.node_size());
}

} // namespace braid
