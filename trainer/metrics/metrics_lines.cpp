#include "trainer/metrics/metrics_lines.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/atomic_file.h"

namespace braid {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 20, kMaxLineBytes = size_t{1} << 24;

/// Reads a file line by line in bounded memory.
class MetricsLineReader {
  public:
    MetricsLineReader(int file, const std::string& path, int64_t num_bytes)
        : file_(file), path_(path), num_bytes_(num_bytes) {}

    /// The next line with its newline, or without where the file ends first; empty at the end. Valid until
    /// the next call.
    std::string_view next() {
        size_t searched = start_;
        while (true) {
            const size_t newline = buffer_.find('\n', searched);
            if (newline != std::string::npos) return take(newline + 1);
            buffer_.erase(0, std::exchange(start_, 0));
            searched = buffer_.size();
            if (searched > kMaxLineBytes)
                throw DataError("{}: expected lines of at most {} bytes, found a longer one", path_,
                                kMaxLineBytes);
            if (!read_block()) return take(buffer_.size());
        }
    }

  private:
    std::string_view take(size_t end) {
        const size_t begin = std::exchange(start_, end);
        return std::string_view(buffer_).substr(begin, end - begin);
    }

    bool read_block() {
        const size_t count = static_cast<size_t>(std::min<int64_t>(num_bytes_ - position_, kBlockBytes));
        if (count == 0) return false;
        const size_t before = buffer_.size();
        buffer_.resize(before + count);
        read_all_at(file_, buffer_.data() + before, count, position_, path_, ExitCode::data);
        position_ += static_cast<int64_t>(count);
        return true;
    }

    const int file_;
    const std::string& path_;
    const int64_t num_bytes_;
    int64_t position_ = 0;
    std::string buffer_;
    size_t start_ = 0; // of the next line in buffer_
};

/// A file made of some lines of another one.
class LineCopy {
  public:
    LineCopy(const std::string& path, Overwrite overwrite, mode_t mode)
        : output_(path, overwrite), file_(create_file(output_.path(), mode)) {}

    void add(std::string_view line) {
        pending_ += line;
        if (pending_.size() >= kBlockBytes) write();
    }
    void publish() {
        write();
        output_.publish();
    }

  private:
    void write() {
        write_all(file_.get(), pending_.data(), pending_.size(), output_.path());
        pending_.clear();
    }

    AtomicOutput output_;
    const FileDescriptor file_;
    std::string pending_;
};

/// The "step" of a whole line, or nothing.
std::optional<int64_t> step_of_line(std::string_view line) {
    if (line.empty() || line.back() != '\n') return std::nullopt;
    const auto object = nlohmann::json::parse(line, nullptr, false);
    if (!object.is_object()) return std::nullopt;
    const auto step = object.find("step");
    if (step == object.end() || !step->is_number_integer()) return std::nullopt;
    // A number beyond int64_t would wrap around.
    if (step->is_number_unsigned() && step->get<uint64_t>() > INT64_MAX) return std::nullopt;
    return step->get<int64_t>();
}

} // namespace

CutBack cut_back_lines(const std::string& path, int64_t last_step, const std::string& later) {
    struct stat status;
    if (::lstat(path.c_str(), &status) != 0 && errno == ENOENT) return {};
    int64_t num_bytes = 0;
    const FileDescriptor file = open_regular_file(path, ExitCode::data, Symlinks::refuse, &num_bytes);
    MetricsLineReader reader(file.get(), path, num_bytes);
    const mode_t mode = status.st_mode & 0777;
    LineCopy kept(path, Overwrite::yes, mode), superseded(later, Overwrite::no, mode);
    CutBack result;
    for (std::string_view line = reader.next(); !line.empty(); line = reader.next()) {
        const std::optional<int64_t> step = step_of_line(line);
        ++(!step ? result.unreadable : *step > last_step ? result.superseded : result.kept);
        if (step) (*step > last_step ? superseded : kept).add(line);
    }
    if (result.superseded > 0) superseded.publish();
    if (result.superseded > 0 || result.unreadable > 0) kept.publish();
    return result;
}

LineFile::LineFile(std::string path) : path_(std::move(path)) {
    // O_NONBLOCK: a FIFO in the file's place must not hang the open.
    file_ = FileDescriptor(
        ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
    struct stat status;
    if (!file_ || ::fstat(file_.get(), &status) != 0)
        throw WriteError("{}: cannot open for appending: {}", path_, std::strerror(errno));
    if (!S_ISREG(status.st_mode)) throw WriteError("{}: expected a regular file", path_);
    // A line that a crash tore must not swallow the next one.
    char last = '\n';
    if (status.st_size > 0)
        read_all_at(file_.get(), &last, 1, status.st_size - 1, path_, ExitCode::cannot_write);
    if (last != '\n') write_all(file_.get(), "\n", 1, path_);
}

void LineFile::append(std::string_view line) {
    buffer_.assign(line);
    buffer_ += '\n';
    write_all(file_.get(), buffer_.data(), buffer_.size(), path_);
}

void LineFile::sync() {
    sync_file(file_.get(), path_);
}

} // namespace braid
