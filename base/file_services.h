#pragma once

#include <string>
#include <vector>

namespace braid {

/// What some file systems lack (CIFS, FAT, Lustre without flock) and Braid can do without.
enum class FileService {
    permissions, // chmod
    locks,       // flock
    sync,        // fsync
};

/// Whether `error`, as chmod, flock or fsync leave it in errno, says that the file system has no such
/// service, rather than that it failed in giving it.
bool is_missing(FileService service, int error);

/// The same for what `path` was asked for, which is noted for the user if so.
bool tolerate_missing(FileService service, const std::string& path, int error);

/// What tolerate_missing noted since the last call: one line for each service, once in a process.
std::vector<std::string> take_file_service_hints();

} // namespace braid
