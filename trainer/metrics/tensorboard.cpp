#include "trainer/metrics/tensorboard.h"

#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/atomic_file.h"

namespace braid {
namespace {

constexpr std::string_view kNamePrefix = "events.out.tfevents.", kFileVersion = "brain.Event:2";

constexpr std::array<uint32_t, 256> make_crc_table() {
    std::array<uint32_t, 256> table{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0u);
        table[byte] = crc;
    }
    return table;
}

/// TFRecord stores checksums rotated and shifted, so that a checksum of data with checksums stays useful.
uint32_t masked_crc32c(std::string_view bytes) {
    return std::rotr(crc32c(bytes), 15) + 0xa282ead8u;
}

template <typename T>
std::string little_endian(T value) {
    static_assert(std::endian::native == std::endian::little);
    return {reinterpret_cast<const char*>(&value), sizeof value};
}

// Protocol buffers: a message is a row of fields, each a key (number and wire type) and a value.
enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string varint(uint64_t value) {
    std::string bytes;
    for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
    return bytes + static_cast<char>(value);
}

std::string key(int number, WireType type) {
    return varint(static_cast<uint64_t>(number) << 3 | type);
}

std::string double_field(int number, double value) {
    return key(number, kFixed64) + little_endian(value);
}
std::string float_field(int number, float value) {
    return key(number, kFixed32) + little_endian(value);
}
std::string integer_field(int number, int64_t value) {
    return key(number, kVarint) + varint(static_cast<uint64_t>(value));
}
std::string bytes_field(int number, std::string_view value) {
    return key(number, kBytes) + varint(value.size()) + std::string(value);
}

/// The fields every Event starts with; numbers as in tensorflow/core/util/event.proto and summary.proto.
std::string event_head(int64_t step) {
    const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
    return double_field(1, now.count()) + integer_field(2, step);
}

/// Readers take the files of a folder in the order of their names, so the seconds in a new name must pass
/// those of every file there, also after a quick restart or a clock set back.
int64_t seconds_for_name(const std::string& folder) {
    namespace fs = std::filesystem;
    int64_t seconds =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
            .count();
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
        const std::string name = entry->path().filename().string();
        if (!name.starts_with(kNamePrefix)) continue;
        int64_t earlier = 0;
        const char* digits = name.data() + kNamePrefix.size();
        const auto parsed = std::from_chars(digits, name.data() + name.size(), earlier);
        // Ten digits last until 2286; a stranger's longer number must not push ours out of order for ever.
        if (parsed.ec == std::errc() && parsed.ptr - digits == 10) seconds = std::max(seconds, earlier + 1);
    }
    if (error) throw WriteError("{}: cannot list the folder: {}", folder, error.message());
    return seconds;
}

constexpr size_t kMaxRecordBytes = size_t{1} << 26;
constexpr size_t kLengthBytes = 8, kCrcBytes = 4;

template <typename T>
T from_little_endian(std::string_view bytes) {
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

/// Reads an event file record by record.
class RecordReader {
  public:
    RecordReader(const std::string& path)
        : path_(path), file_(open_regular_file(path, ExitCode::data, Symlinks::refuse, &num_bytes_)) {}

    /// The next whole record, frame included; empty at the end and from the first one on that is torn or
    /// changed.
    std::string next() {
        const std::string head = read(kLengthBytes + kCrcBytes);
        if (head.empty()) return "";
        const std::string_view length(head.data(), kLengthBytes);
        const auto size = from_little_endian<uint64_t>(length);
        const auto length_crc = from_little_endian<uint32_t>(std::string_view(head).substr(kLengthBytes));
        if (length_crc != masked_crc32c(length) || size > kMaxRecordBytes) return "";
        const std::string body = read(static_cast<size_t>(size) + kCrcBytes);
        if (body.empty()) return "";
        const std::string_view event(body.data(), static_cast<size_t>(size));
        const auto crc = from_little_endian<uint32_t>(std::string_view(body).substr(event.size()));
        return crc == masked_crc32c(event) ? head + body : "";
    }

  private:
    std::string read(size_t count) {
        if (num_bytes_ - position_ < static_cast<int64_t>(count)) return "";
        std::string bytes(count, '\0');
        read_all_at(file_.get(), bytes.data(), count, position_, path_, ExitCode::data);
        position_ += static_cast<int64_t>(count);
        return bytes;
    }

    const std::string& path_;
    int64_t num_bytes_ = 0, position_ = 0;
    const FileDescriptor file_;
};

/// The step of a record that write_record made, whose event starts with event_head().
int64_t step_of_record(std::string_view record) {
    std::string_view rest = record.substr(kLengthBytes + kCrcBytes);
    const size_t head = key(1, kFixed64).size() + sizeof(double) + key(2, kVarint).size();
    rest.remove_prefix(std::min(head, rest.size()));
    uint64_t step = 0;
    for (unsigned shift = 0; !rest.empty() && shift < 64; shift += 7) {
        const auto byte = static_cast<uint8_t>(rest.front());
        rest.remove_prefix(1);
        step |= static_cast<uint64_t>(byte & 0x7f) << shift;
        if (byte < 0x80) break;
    }
    return static_cast<int64_t>(step);
}

/// Part of an event file's records, as a file of its own.
class RecordCopy {
  public:
    RecordCopy(const std::string& path, Overwrite overwrite, const std::string& version)
        : output_(path, overwrite), file_(create_file(output_.path())) {
        add(version);
    }
    void add(const std::string& record) {
        write_all(file_.get(), record.data(), record.size(), output_.path());
    }
    void publish() { output_.publish(); }

  private:
    AtomicOutput output_;
    const FileDescriptor file_;
};

} // namespace

uint32_t crc32c(std::string_view bytes) {
    static constexpr std::array<uint32_t, 256> kTable = make_crc_table();
    uint32_t crc = ~0u;
    for (const char byte : bytes) crc = kTable[(crc ^ static_cast<uint8_t>(byte)) & 0xff] ^ (crc >> 8);
    return ~crc;
}

EventFile::EventFile(const std::string& folder, int64_t first_step) {
    char host[HOST_NAME_MAX + 1] = {};
    if (::gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') host[0] = '-';
    path_ = fmt::format("{}/{}{:010}.{}.{}", folder, kNamePrefix, seconds_for_name(folder), host, ::getpid());
    file_ = create_file(path_);
    write_record(event_head(0) + bytes_field(3, kFileVersion));
    constexpr int kStart = 1;
    write_record(event_head(first_step) + bytes_field(7, integer_field(1, kStart)));
}

void EventFile::write(int64_t step, const std::vector<Scalar>& scalars) {
    std::string summary;
    for (const Scalar& scalar : scalars)
        summary += bytes_field(1, bytes_field(1, scalar.tag) + float_field(2, scalar.value));
    write_record(event_head(step) + bytes_field(5, summary));
}

void EventFile::sync() {
    sync_file(file_.get(), path_);
}

int64_t cut_back_events(const std::string& path, int64_t last_step, const std::string& later) {
    RecordReader reader(path);
    const std::string version = reader.next();
    if (version.find(kFileVersion) == std::string::npos) return 0;
    RecordCopy kept(path, Overwrite::yes, version), superseded(later, Overwrite::no, version);
    int64_t count = 0;
    for (std::string record = reader.next(); !record.empty(); record = reader.next()) {
        const bool is_later = step_of_record(record) > last_step;
        count += is_later;
        (is_later ? superseded : kept).add(record);
    }
    if (count == 0) return 0;
    superseded.publish();
    kept.publish();
    return count;
}

std::vector<std::string> event_files(const std::string& folder) {
    std::vector<std::string> paths;
    std::error_code error;
    std::filesystem::directory_iterator entry(folder, error), end;
    for (; !error && entry != end; entry.increment(error))
        if (entry->path().filename().string().starts_with(kNamePrefix) &&
            std::filesystem::is_regular_file(entry->symlink_status()))
            paths.push_back(entry->path().string());
    if (error) throw WriteError("{}: cannot list the folder: {}", folder, error.message());
    std::sort(paths.begin(), paths.end());
    return paths;
}

void EventFile::write_record(const std::string& event) {
    const std::string length = little_endian(static_cast<uint64_t>(event.size()));
    const std::string record =
        length + little_endian(masked_crc32c(length)) + event + little_endian(masked_crc32c(event));
    write_all(file_.get(), record.data(), record.size(), path_);
}

} // namespace braid
