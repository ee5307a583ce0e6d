#include "trainer/checkpoint/checkpoint_reader.h"

#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>

#include "base/atomic_file.h"
#include "base/first_few.h"
#include "base/hdf5_file.h"
#include "base/sha256.h"
#include "trainer/checkpoint/checkpoint_writer.h"

namespace braid {

namespace {

namespace fs = std::filesystem;

// The bytes of one stored box, block by block, each held against its hash before any of it is seen. Requests
// ascend, so that each block is read once.
class BlockStream {
  public:
    BlockStream(int fd, const std::string& path, const StoredBox& stored, int64_t num_bytes,
                int64_t block_bytes)
        : fd_(fd), path_(path), stored_(stored), num_bytes_(num_bytes), block_bytes_(block_bytes) {}

    void copy(int64_t first, int64_t count, std::byte* out) {
        while (count > 0) {
            load(first / block_bytes_);
            const int64_t within = first % block_bytes_;
            const int64_t part = std::min(count, static_cast<int64_t>(buffer_.size()) - within);
            std::memcpy(out, buffer_.data() + within, static_cast<size_t>(part));
            first += part;
            count -= part;
            out += part;
        }
    }

    void load(int64_t block) {
        if (block == block_) return;
        const int64_t first = block * block_bytes_;
        buffer_.resize(static_cast<size_t>(std::min(block_bytes_, num_bytes_ - first)));
        const int64_t byte = stored_.byte + first;
        read_all_at(fd_, buffer_.data(), buffer_.size(), byte, path_, ExitCode::checkpoint);
        const std::string found = sha256_hex(buffer_.data(), buffer_.size());
        const std::string& expected = stored_.blocks[static_cast<size_t>(block)];
        if (found != expected)
            throw CheckpointError(
                "{}: dataset {}: bytes {} to {} were changed: expected SHA-256 {}, found {}", path_,
                stored_.dataset, byte, byte + static_cast<int64_t>(buffer_.size()) - 1, expected, found);
        block_ = block;
    }

  private:
    const int fd_;
    const std::string& path_;
    const StoredBox& stored_;
    const int64_t num_bytes_, block_bytes_;
    int64_t block_ = -1;
    std::vector<std::byte> buffer_;
};

// Refuses objects other than these datasets and the groups they are in.
void expect_only(const Hdf5File& file, const std::string& path, const std::vector<std::string>& datasets) {
    std::map<std::string, std::set<std::string>> children; // of each group
    children["/"];
    for (const std::string& dataset : datasets) {
        size_t start = 1;
        for (size_t slash = dataset.find('/', start); start != 0; slash = dataset.find('/', start)) {
            const std::string group = start == 1 ? "/" : dataset.substr(0, start - 1);
            children[group].insert(dataset.substr(start, slash - start));
            start = slash == std::string::npos ? 0 : slash + 1;
        }
    }
    for (const auto& [group, expected] : children)
        for (const std::string& name : file.names(group))
            if (!expected.contains(name))
                throw CheckpointError("{}: group {}: found '{}', which the manifest does not list", path,
                                      group, name);
}

std::string describe(const TensorInfo& tensor) {
    return fmt::format("{} {} {}", to_string(tensor.kind), name_of(tensor.dtype), to_string(tensor.shape));
}

} // namespace

CheckpointReader CheckpointReader::open(const std::string& folder) {
    const std::string path = fmt::format("{}/{}", folder, Manifest::kFileName);
    const std::string text =
        read_whole_file(path, Manifest::kMaxBytes, ExitCode::checkpoint, Symlinks::refuse);
    CheckpointReader reader(folder, parse_manifest(text, path));
    reader.check_folder();
    return reader;
}

void CheckpointReader::check_folder() const {
    std::map<std::string, int64_t> missing;
    for (const StoredFile& file : manifest_.files) missing[file.name] = file.bytes;
    std::error_code error;
    fs::directory_iterator entry(folder_, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
        const std::string name = entry->path().filename().string();
        const bool is_manifest = name == Manifest::kFileName;
        const auto listed = missing.find(name);
        if (!is_manifest && listed == missing.end())
            throw CheckpointError("{}: found '{}', which the manifest does not list", folder_, name);
        struct stat status;
        if (::lstat(entry->path().c_str(), &status) != 0)
            throw CheckpointError("{}/{}: cannot read its status: {}", folder_, name, std::strerror(errno));
        if (!S_ISREG(status.st_mode))
            throw CheckpointError("{}/{}: expected a regular file, found {}", folder_, name,
                                  S_ISLNK(status.st_mode) ? "a symbolic link" : "something else");
        if (is_manifest) continue;
        if (status.st_size != listed->second)
            throw CheckpointError("{}/{}: expected {} bytes, found {}", folder_, name, listed->second,
                                  status.st_size);
        missing.erase(listed);
    }
    if (error) throw CheckpointError("{}: cannot list: {}", folder_, error.message());
    if (!missing.empty()) throw CheckpointError("{}: '{}' is missing", folder_, missing.begin()->first);
}

FileDescriptor CheckpointReader::open_file(const std::string& name) const {
    return open_regular_file(folder_ + "/" + name, ExitCode::checkpoint, Symlinks::refuse);
}

void CheckpointReader::expect(std::span<const TensorInfo> wanted, std::span<const TensorKind> kinds) const {
    std::vector<std::string> missing, different, unexpected;
    std::set<std::string> names;
    for (const TensorInfo& tensor : wanted) {
        names.insert(tensor.name);
        const StoredTensor* stored = manifest_.find(tensor.name);
        if (!stored)
            missing.push_back(tensor.name);
        else if (stored->info != tensor)
            different.push_back(fmt::format("{} (expected {}, found {})", tensor.name, describe(tensor),
                                            describe(stored->info)));
    }
    for (const StoredTensor& stored : manifest_.tensors) {
        const bool selected = std::find(kinds.begin(), kinds.end(), stored.info.kind) != kinds.end();
        if (selected && !names.contains(stored.info.name)) unexpected.push_back(stored.info.name);
    }
    if (!missing.empty())
        throw CheckpointError("{}: {} tensors of the model are missing: {}", folder_, missing.size(),
                              first_few(missing));
    if (!unexpected.empty())
        throw CheckpointError("{}: {} tensors are unknown to the model: {}", folder_, unexpected.size(),
                              first_few(unexpected));
    if (!different.empty())
        throw CheckpointError("{}: {} tensors do not fit the model: {}", folder_, different.size(),
                              first_few(different));
}

void CheckpointReader::read(const std::string& name, const Box& box, std::span<std::byte> out) const {
    const StoredTensor* tensor = manifest_.find(name);
    if (!tensor) throw CheckpointError("{}: tensor '{}' is missing", folder_, name);
    check(lies_within(box, tensor->info.shape) &&
              out.size() == static_cast<size_t>(box.numel()) * size_of(tensor->info.dtype),
          "{}: {}: {} bytes for a box of [{}] of {}", folder_, name, out.size(), fmt::join(box.extent, ", "),
          describe(tensor->info));
    for (const StoredBox& stored : tensor->boxes) read_part(*tensor, stored, box, out);
}

void CheckpointReader::read(const std::string& name, const Box& box, const Tensor& out) const {
    const StoredTensor* tensor = manifest_.find(name);
    if (!tensor) throw CheckpointError("{}: tensor '{}' is missing", folder_, name);
    check(out.is_contiguous() && out.device() == Device{} && out.dtype() == tensor->info.dtype,
          "{}: {}: read into {}", folder_, name, name_of(out.dtype()));
    read(name, box, std::span(static_cast<std::byte*>(out.raw_data()), out.bytes()));
}

void CheckpointReader::read_part(const StoredTensor& tensor, const StoredBox& stored, const Box& box,
                                 std::span<std::byte> out) const {
    const auto common = intersection(stored.box, box);
    if (!common) return;
    const std::string path = folder_ + "/" + stored.file;
    const FileDescriptor file = open_file(stored.file);
    const auto size = static_cast<int64_t>(size_of(tensor.info.dtype));
    BlockStream bytes(file.get(), path, stored, stored.box.numel() * size, manifest_.block_bytes);
    for_each_run(*common, stored.box, box, [&](int64_t from, int64_t to, int64_t count) {
        bytes.copy(from * size, count * size, out.data() + to * size);
    });
}

void CheckpointReader::verify(const std::function<void()>& tick) const {
    std::map<std::string, std::vector<Part>> parts;
    for (const StoredTensor& tensor : manifest_.tensors)
        for (const StoredBox& stored : tensor.boxes) parts[stored.file].push_back({&tensor, &stored});
    for (const StoredFile& file : manifest_.files) {
        const std::string path = folder_ + "/" + file.name;
        const std::string found = sha256_file_hex(path, ExitCode::checkpoint, tick);
        if (found != file.sha256)
            throw CheckpointError("{}: the content was changed: expected SHA-256 {}, found {}", path,
                                  file.sha256, found);
        if (file.name != Manifest::kIndexName) verify_rank_file(file.name, parts[file.name], tick);
    }
}

void CheckpointReader::verify_rank_file(const std::string& name, std::span<const Part> parts,
                                        const std::function<void()>& tick) const {
    const std::string path = folder_ + "/" + name;
    const Hdf5File hdf5 = Hdf5File::open(path, ExitCode::checkpoint);
    const std::string save_id = hdf5.read_string("/", "save_id");
    const int64_t step = hdf5.read_i64("/", "step");
    if (save_id != manifest_.save_id || step != manifest_.training.step)
        throw CheckpointError("{}: expected save {} of step {}, found {} of step {}", path, manifest_.save_id,
                              manifest_.training.step, save_id, step);
    const FileDescriptor descriptor = open_file(name);
    std::vector<std::string> datasets;
    for (const auto& [tensor, stored] : parts) {
        const DType dtype = tensor->info.dtype;
        const Hdf5Dataset dataset = hdf5.dataset(stored->dataset, dtype, dataset_shape(stored->box.extent));
        if (dataset.offset != stored->byte)
            throw CheckpointError("{}: {}: the manifest says byte {}, the file says {}", path,
                                  stored->dataset, stored->byte, dataset.offset);
        const int64_t num_bytes = stored->box.numel() * static_cast<int64_t>(size_of(dtype));
        BlockStream bytes(descriptor.get(), path, *stored, num_bytes, manifest_.block_bytes);
        for (size_t block = 0; block < stored->blocks.size(); ++block) {
            bytes.load(static_cast<int64_t>(block));
            if (tick) tick();
        }
        datasets.push_back(stored->dataset);
    }
    expect_only(hdf5, path, datasets);
}

} // namespace braid
