#include "data/publish_both.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "base/atomic_file.h"
#include "base/error.h"

namespace braid {
namespace {

/// A file that is replaced, kept under another name until both are in place.
class ReplacedFile {
  public:
    explicit ReplacedFile(const std::string& path) : path_(path) {
        struct stat status;
        if (::lstat(path.c_str(), &status) != 0 || S_ISDIR(status.st_mode)) return;
        kept_ = temporary_name(path);
        if (::link(path.c_str(), kept_.c_str()) == 0) return;
        // Some file systems have no second names for a file; there its name is free for a moment.
        if (::rename(path.c_str(), kept_.c_str()) != 0)
            throw WriteError("{}: cannot keep what is replaced as {}: {}", path, kept_, std::strerror(errno));
        moved_ = true;
    }
    ReplacedFile(const ReplacedFile&) = delete;
    ReplacedFile& operator=(const ReplacedFile&) = delete;
    ~ReplacedFile() {
        if (!kept_.empty()) ::unlink(kept_.c_str());
    }

    /// Puts everything back as it was.
    void restore(bool is_replaced) {
        if (!is_replaced && !moved_) return;
        if (kept_.empty())
            ::unlink(path_.c_str());
        else if (::rename(kept_.c_str(), path_.c_str()) == 0)
            kept_.clear();
    }

  private:
    std::string path_, kept_; // kept_ is empty where there was nothing
    bool moved_ = false;
};

} // namespace

void publish_both(TokenFileWriter& first, TokenFileWriter& second) {
    ReplacedFile old_first(first.path()), old_second(second.path());
    try {
        first.publish();
        second.publish();
    } catch (...) {
        old_first.restore(first.is_published());
        old_second.restore(second.is_published());
        throw;
    }
}

} // namespace braid
