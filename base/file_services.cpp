#include "base/file_services.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

namespace braid {
namespace {

struct Notes {
    std::mutex mutex;
    std::array<bool, 3> told{};
    std::vector<std::string> hints;
};

Notes& notes() {
    static Notes instance;
    return instance;
}

std::string hint(FileService service, const std::string& path, int error) {
    const char* const reason = std::strerror(error);
    switch (service) {
        case FileService::permissions:
            return fmt::format(
                "{}: its file system keeps no permissions (chmod: {}); who may read the files is for its "
                "mount "
                "options to say",
                path, reason);
        case FileService::locks:
            return fmt::format(
                "{}: its file system has no locks (flock: {}); see that only one job at a time uses this "
                "folder",
                path, reason);
        case FileService::sync:
            break;
    }
    return fmt::format(
        "{}: its file system does not sync (fsync: {}); a power loss may take what was written last", path,
        reason);
}

} // namespace

bool is_missing(FileService service, int error) {
    if (service == FileService::locks && error == ENOLCK) return true;
    return error == EPERM || error == ENOTSUP || error == EOPNOTSUPP || error == ENOSYS || error == EINVAL;
}

bool tolerate_missing(FileService service, const std::string& path, int error) {
    if (!is_missing(service, error)) return false;
    const std::lock_guard lock(notes().mutex);
    bool& told = notes().told[static_cast<size_t>(service)];
    if (!told) notes().hints.push_back(hint(service, path, error));
    told = true;
    return true;
}

std::vector<std::string> take_file_service_hints() {
    const std::lock_guard lock(notes().mutex);
    return std::exchange(notes().hints, {});
}

} // namespace braid
