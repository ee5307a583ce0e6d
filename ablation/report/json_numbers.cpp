#include "ablation/report/json_numbers.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>
#include <system_error>

#include "base/error.h"
#include "base/file_descriptor.h"

namespace braid::report {
namespace {

constexpr size_t kBlock = size_t{1} << 20;
constexpr size_t kLongestLine = size_t{1} << 24;

/// Behind a list or object that begins at `at`, or nullptr.
const char* skip_nested(const char* at, const char* end) {
    int depth = 0;
    for (bool quoted = false; at != end; ++at) {
        if (quoted) {
            if (*at == '\\') {
                if (++at == end) return nullptr;
            } else if (*at == '"')
                quoted = false;
        } else if (*at == '"')
            quoted = true;
        else if (*at == '[' || *at == '{')
            ++depth;
        else if ((*at == ']' || *at == '}') && --depth == 0)
            return at + 1;
    }
    return nullptr;
}

/// The text between quotes at `at`, which moves behind them; nothing where it is not whole or has escapes.
bool take_string(const char*& at, const char* end, std::string_view& text) {
    if (at == end || *at != '"') return false;
    const auto* const close =
        static_cast<const char*>(std::memchr(at + 1, '"', static_cast<size_t>(end - at - 1)));
    if (!close) return false;
    text = {at + 1, close};
    at = close + 1;
    return std::memchr(text.data(), '\\', text.size()) == nullptr;
}

bool take_word(const char*& at, const char* end, std::string_view word) {
    if (!std::string_view(at, end).starts_with(word)) return false;
    at += word.size();
    return true;
}

} // namespace

bool scan_json_line(std::string_view line, const std::function<void(std::string_view, double)>& number,
                    const std::function<void(std::string_view, std::string_view)>& text) {
    const char *at = line.data(), *const end = at + line.size();
    const auto blank = [&] {
        while (at != end && (*at == ' ' || *at == '\t' || *at == '\r')) ++at;
    };
    blank();
    if (!take_word(at, end, "{")) return false;
    for (bool first = true;; first = false) {
        blank();
        if (take_word(at, end, "}")) break;
        if (!first && !take_word(at, end, ",")) return false;
        blank();
        std::string_view key, value;
        if (!take_string(at, end, key)) return false;
        blank();
        if (!take_word(at, end, ":")) return false;
        blank();
        if (at == end) return false;
        if (*at == '"') {
            if (!take_string(at, end, value)) return false;
            text(key, value);
        } else if (*at == '[' || *at == '{') {
            if (!(at = skip_nested(at, end))) return false;
        } else if (take_word(at, end, "null")) {
            number(key, std::numeric_limits<double>::quiet_NaN());
        } else if (!take_word(at, end, "true") && !take_word(at, end, "false")) {
            double parsed = 0;
            if (*at != '-' && (*at < '0' || *at > '9')) return false;
            const auto [behind, error] = std::from_chars(at, end, parsed);
            if (error != std::errc()) return false;
            at = behind;
            number(key, parsed);
        }
    }
    blank();
    return at == end;
}

bool LineReader::read(const std::function<void(std::string_view, int64_t)>& line) {
    const FileDescriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file && errno == ENOENT && offset_ == 0) return true;
    struct stat status {};
    const bool readable = file && ::fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode);
    if (file && !readable) throw DataError("{}: expected a regular file", path_);
    if (!file && errno != ENOENT) throw DataError("{}: cannot be read: {}", path_, std::strerror(errno));
    if (!file || status.st_size < offset_ || (inode_ != 0 && inode_ != status.st_ino)) {
        offset_ = number_ = 0;
        inode_ = 0;
        return false;
    }
    inode_ = status.st_ino;
    std::string pending;
    for (int64_t at = offset_;;) {
        const size_t held = pending.size();
        pending.resize(held + kBlock);
        const ssize_t got = ::pread(file.get(), pending.data() + held, kBlock, at);
        if (got < 0) throw DataError("{}: cannot be read: {}", path_, std::strerror(errno));
        pending.resize(held + static_cast<size_t>(got));
        at += got;
        size_t begin = 0;
        for (size_t stop; (stop = pending.find('\n', std::max(begin, held))) != std::string::npos;
             begin = stop + 1)
            line(std::string_view(pending).substr(begin, stop - begin), ++number_);
        pending.erase(0, begin);
        offset_ += static_cast<int64_t>(begin);
        if (pending.size() > kLongestLine)
            throw DataError("{}:{}: expected a line of at most {} bytes, found a longer one", path_,
                            number_ + 1, kLongestLine);
        if (got == 0) break;
    }
    torn_ = !pending.empty();
    return true;
}

} // namespace braid::report
