#include "data/byte_stream.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/file_descriptor.h"

namespace braid {

namespace {

constexpr size_t kBufferBytes = 1 << 18;
constexpr size_t kFirstBytes = 512; // as many as tell what a file is

bool is_zstd(std::string_view start) {
    // A file may begin with a frame that readers skip; pzstd's do.
    const bool skippable = start.size() >= 4 && (static_cast<uint8_t>(start[0]) & 0xf0) == 0x50 &&
                           start.substr(1, 3) == "\x2a\x4d\x18";
    return start.starts_with("\x28\xb5\x2f\xfd") || skippable;
}

/// What holds text in a form that is not read here, by its first bytes; empty for anything else.
std::string_view known_container(std::string_view start) {
    using namespace std::string_view_literals;
    struct Container {
        std::string_view signature, name;
    };
    static constexpr Container kContainers[] = {
        {"\xfd\x37zXZ\0"sv, "xz data"},
        {"\x04\x22\x4d\x18", "lz4 data"},
        {"\x02\x21\x4c\x18", "lz4 data"},
        {"PK\x03\x04", "a zip archive"},
        {"PK\x05\x06", "a zip archive"},
        {"PAR1\x15", "a Parquet file"},
        {"\x89HDF\r\n\x1a\n", "an HDF5 file"},
        {"7z\xbc\xaf\x27\x1c", "a 7z archive"},
        {"Rar!\x1a\x07", "a rar archive"},
        {"ARROW1\0\0"sv, "an Arrow file"},
        {"Obj\x01", "an Avro file"},
        {"\x1f\x9d", "data of compress (.Z)"},
        {"\x1f\x8b", "gzip data"},
    };
    if (start.starts_with("BZh") && start.substr(0, 10).ends_with("\x31\x41\x59\x26\x53\x59"))
        return "bzip2 data";
    if (start.size() > 262 && start.substr(257, 5) == "ustar") return "a tar archive";
    if (is_zstd(start)) return "zstd data";
    for (const Container& container : kContainers)
        if (start.starts_with(container.signature)) return container.name;
    return "";
}

void refuse_container(std::string_view start, const std::string& path, bool unpacked) {
    const std::string_view found = known_container(start);
    if (found.empty()) return;
    throw DataError("{}: expected text or JSON lines, found {}{}{}", path, found, unpacked ? " inside" : "",
                    found == "an HDF5 file" ? "; a token file goes under data.train as it is"
                                            : "; unpack it first (gzip and zstd alone are read)");
}

/// The bytes as they are stored. Its first bytes can be looked at before they are read.
class RawStream : public ByteStream {
  public:
    explicit RawStream(const std::string& path) : path_(input_name(path)), buffer_(kBufferBytes) {
        if (path == "-") {
            file_ = FileDescriptor(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0));
            if (!file_) throw DataError("standard input: cannot open: {}", std::strerror(errno));
        } else {
            file_ = open_regular_file(path_, ExitCode::data, Symlinks::follow);
        }
        while (end_ < kFirstBytes && fill()) {
        }
        first_bytes_.assign(buffer_.data(), std::min(end_, kFirstBytes));
    }

    std::string_view first_bytes() const override { return first_bytes_; }
    const std::string& path() const { return path_; }

    size_t read(char* out, size_t size) override {
        if (begin_ == end_) {
            begin_ = end_ = 0;
            if (!fill()) return 0;
        }
        const size_t count = std::min(size, end_ - begin_);
        std::memcpy(out, buffer_.data() + begin_, count);
        begin_ += count;
        return count;
    }

  private:
    bool fill() {
        for (;;) {
            const ssize_t count = ::read(file_.get(), buffer_.data() + end_, buffer_.size() - end_);
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) throw DataError("{}: cannot read: {}", path_, std::strerror(errno));
            end_ += static_cast<size_t>(count);
            return count > 0;
        }
    }

    std::string path_, first_bytes_;
    FileDescriptor file_;
    std::vector<char> buffer_;
    size_t begin_ = 0, end_ = 0;
};

/// What both decompressors share: compressed input in pieces, and the cap on how far it may expand.
class Decompressor {
  public:
    virtual ~Decompressor() = default;
    explicit Decompressor(std::unique_ptr<RawStream> raw) : raw_(std::move(raw)), input_(kBufferBytes) {}

    /// As ByteStream::read.
    size_t read(char* out, size_t size) {
        size_t produced = 0;
        while (produced == 0) {
            if (input_begin_ == input_end_ && !at_end_) {
                input_begin_ = 0;
                input_end_ = raw_->read(input_.data(), input_.size());
                input_bytes_ += static_cast<int64_t>(input_end_);
                at_end_ = input_end_ == 0;
            }
            if (at_end_ && between_frames()) return 0;
            produced = step(out, size);
            if (produced == 0 && at_end_ && !between_frames()) fail("the compressed data is cut");
        }
        output_bytes_ += static_cast<int64_t>(produced);
        if (output_bytes_ > ByteStream::kFreeBytes &&
            output_bytes_ / ByteStream::kMaxExpansion > input_bytes_)
            fail(fmt::format("expands more than {}-fold", ByteStream::kMaxExpansion));
        return produced;
    }

  protected:
    /// True where the input may end: before a frame or after one.
    virtual bool between_frames() const = 0;
    /// Decompresses some of the input from input_begin_ on, and returns how many bytes came out, possibly
    /// none.
    virtual size_t step(char* out, size_t size) = 0;

    [[noreturn]] void fail(std::string_view what) const { throw DataError("{}: {}", raw_->path(), what); }

    std::unique_ptr<RawStream> raw_;
    std::vector<char> input_;
    size_t input_begin_ = 0, input_end_ = 0;

  private:
    int64_t input_bytes_ = 0, output_bytes_ = 0;
    bool at_end_ = false;
};

class GzipStream : public Decompressor {
  public:
    explicit GzipStream(std::unique_ptr<RawStream> raw) : Decompressor(std::move(raw)) {
        check(inflateInit2(&state_, 15 + 16) == Z_OK,
              "zlib does not start"); // 16: gzip header and checksum required
    }
    ~GzipStream() override { inflateEnd(&state_); }

  protected:
    bool between_frames() const override { return between_members_; }

    size_t step(char* out, size_t size) override {
        // Blocks of tapes and other devices end in zeros.
        while (between_members_ && had_member_ && input_begin_ < input_end_ && input_[input_begin_] == 0)
            ++input_begin_;
        if (between_members_ && input_begin_ == input_end_) return 0;
        if (between_members_) {
            check(inflateReset(&state_) == Z_OK, "zlib does not start again");
            between_members_ = false;
        }
        state_.next_in = reinterpret_cast<Bytef*>(input_.data() + input_begin_);
        state_.avail_in = static_cast<uInt>(input_end_ - input_begin_);
        state_.next_out = reinterpret_cast<Bytef*>(out);
        state_.avail_out = static_cast<uInt>(std::min(size, kBufferBytes));
        const uInt capacity = state_.avail_out;
        const int code = inflate(&state_, Z_NO_FLUSH);
        input_begin_ = input_end_ - state_.avail_in;
        if (code == Z_STREAM_END) {
            between_members_ = had_member_ = true;
        } else if (code != Z_OK && code != Z_BUF_ERROR) {
            fail(fmt::format("not valid gzip data: {}", state_.msg ? state_.msg : "unknown reason"));
        }
        return capacity - state_.avail_out;
    }

  private:
    z_stream state_{};
    bool between_members_ = true, had_member_ = false;
};

class ZstdStream : public Decompressor {
  public:
    explicit ZstdStream(std::unique_ptr<RawStream> raw)
        : Decompressor(std::move(raw)), state_(ZSTD_createDStream()) {
        check(state_ && !ZSTD_isError(ZSTD_DCtx_setParameter(state_, ZSTD_d_windowLogMax, 27)),
              "zstd does not start");
    }
    ~ZstdStream() override { ZSTD_freeDStream(state_); }

  protected:
    bool between_frames() const override { return between_frames_; }

    size_t step(char* out, size_t size) override {
        ZSTD_inBuffer input{input_.data() + input_begin_, input_end_ - input_begin_, 0};
        ZSTD_outBuffer output{out, size, 0};
        const size_t code = ZSTD_decompressStream(state_, &output, &input);
        if (ZSTD_isError(code)) fail(fmt::format("not valid zstd data: {}", ZSTD_getErrorName(code)));
        input_begin_ += input.pos;
        between_frames_ = code == 0;
        return output.pos;
    }

  private:
    ZSTD_DStream* state_;
    bool between_frames_ = true;
};

/// What came out of a decompressor, which must not be another container.
class UnpackedStream : public ByteStream {
  public:
    UnpackedStream(std::unique_ptr<Decompressor> stream, const std::string& path)
        : stream_(std::move(stream)), start_(kFirstBytes, '\0') {
        size_t size = 0;
        while (size < start_.size()) {
            const size_t count = stream_->read(start_.data() + size, start_.size() - size);
            if (count == 0) break;
            size += count;
        }
        start_.resize(size);
        refuse_container(start_, input_name(path), true);
    }

    std::string_view first_bytes() const override { return start_; }

    size_t read(char* out, size_t size) override {
        if (begin_ == start_.size()) return stream_->read(out, size);
        const size_t count = start_.copy(out, size, begin_);
        begin_ += count;
        return count;
    }

  private:
    std::unique_ptr<Decompressor> stream_;
    std::string start_;
    size_t begin_ = 0;
};

} // namespace

std::unique_ptr<ByteStream> ByteStream::open(const std::string& path) {
    auto raw = std::make_unique<RawStream>(path);
    std::unique_ptr<Decompressor> unpacked;
    if (raw->first_bytes().starts_with("\x1f\x8b"))
        unpacked = std::make_unique<GzipStream>(std::move(raw));
    else if (is_zstd(raw->first_bytes()))
        unpacked = std::make_unique<ZstdStream>(std::move(raw));
    if (unpacked) return std::make_unique<UnpackedStream>(std::move(unpacked), path);
    refuse_container(raw->first_bytes(), raw->path(), false);
    return raw;
}

std::string input_name(const std::string& path) {
    return path == "-" ? "standard input" : path;
}

LineReader::LineReader(const std::string& path, int64_t max_line_bytes)
    : LineReader(ByteStream::open(path), path, max_line_bytes) {}

LineReader::LineReader(std::unique_ptr<ByteStream> stream, const std::string& path, int64_t max_line_bytes)
    : path_(input_name(path)), max_line_bytes_(max_line_bytes), stream_(std::move(stream)) {}

bool LineReader::next(std::string* line) {
    size_t searched = begin_;
    for (;;) {
        const size_t end = buffer_.find('\n', searched);
        if (end != std::string::npos) {
            line->assign(buffer_, begin_, end + 1 - begin_);
            begin_ = end + 1;
            ++line_number_;
            return true;
        }
        buffer_.erase(0, begin_);
        begin_ = 0;
        searched = buffer_.size();
        if (static_cast<int64_t>(searched) > max_line_bytes_)
            throw DataError("{}: line {} has more than {} bytes", path_, line_number_ + 1, max_line_bytes_);
        buffer_.resize(searched + kBufferBytes);
        buffer_.resize(searched + stream_->read(buffer_.data() + searched, kBufferBytes));
        if (buffer_.size() == searched) break;
    }
    if (buffer_.empty()) return false;
    *line = std::move(buffer_);
    buffer_.clear();
    ++line_number_;
    return true;
}

} // namespace braid
