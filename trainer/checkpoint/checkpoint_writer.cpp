#include "trainer/checkpoint/checkpoint_writer.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <random>

#include "base/atomic_file.h"
#include "base/hdf5_file.h"
#include "base/sha256.h"
#include "parallel/agreement.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_index.h"

namespace braid {

namespace {

// A float is finite unless all bits of its exponent are set.
template <typename Word>
bool all_finite(const void* data, int64_t count, Word exponent) {
    const auto* words = static_cast<const Word*>(data);
    bool finite = true;
    for (int64_t i = 0; i < count; ++i) finite &= (words[i] & exponent) != exponent;
    return finite;
}

void expect_finite(const TensorShard& shard, int rank, int64_t step) {
    const void* data = shard.data.raw_data();
    const int64_t count = shard.data.numel();
    bool finite = true;
    if (shard.tensor.dtype == DType::f32) finite = all_finite<uint32_t>(data, count, 0x7f800000u);
    if (shard.tensor.dtype == DType::bf16) finite = all_finite<uint16_t>(data, count, 0x7f80u);
    if (shard.tensor.dtype == DType::f64) finite = all_finite<uint64_t>(data, count, 0x7ff0000000000000u);
    if (!finite)
        throw NonFiniteError(
            "checkpoint of step {}: rank {}: {}: expected finite numbers, found NaN or infinity; "
            "nothing is saved",
            step, rank, shard.tensor.name);
}

void expect_valid(const TensorShard& shard, int rank, int64_t step) {
    const std::string& name = shard.tensor.name;
    check(is_tensor_name(name), "checkpoint: '{}' cannot name a tensor", name);
    check(lies_within(shard.box, shard.tensor.shape), "checkpoint: {}: its box is not within {}", name,
          to_string(shard.tensor.shape));
    check(shard.data.dtype() == shard.tensor.dtype && shard.data.is_contiguous() &&
              shard.data.device() == Device{} && shard.data.numel() == shard.box.numel(),
          "checkpoint: {}: its data are {} {}, not {} packed {} in host memory", name,
          to_string(shard.data.shape()), name_of(shard.data.dtype()), shard.box.numel(),
          name_of(shard.tensor.dtype));
    expect_finite(shard, rank, step);
}

// Writes at `byte` and returns the hash of each block.
std::vector<std::string> write_blocks(int fd, const Tensor& data, int64_t byte, int64_t block_bytes,
                                      const std::string& path) {
    const auto* bytes = static_cast<const char*>(data.raw_data());
    const auto total = static_cast<int64_t>(data.bytes());
    std::vector<std::string> hashes;
    for (int64_t first = 0; first < total; first += block_bytes) {
        const auto count = static_cast<size_t>(std::min(block_bytes, total - first));
        hashes.push_back(sha256_hex(bytes + first, count));
        write_all_at(fd, bytes + first, count, byte + first, path);
    }
    return hashes;
}

// Creates the HDF5 file with room for every shard and fills in where each will lie.
void create_datasets(const std::string& path, int rank, const std::string& save_id, int64_t step,
                     std::span<const TensorShard> shards, std::vector<StoredTensor>& tensors) {
    Hdf5File file = Hdf5File::create(path, kCheckpointFileMode);
    file.write_attribute("/", "save_id", save_id);
    file.write_attribute("/", "step", step);
    file.write_attribute("/", "rank", int64_t{rank});
    std::map<std::string, int> num_shards; // of a tensor so far
    for (const TensorShard& shard : shards) {
        const int number = num_shards[shard.tensor.name]++;
        const std::string dataset =
            number == 0 ? "/" + shard.tensor.name : fmt::format("/{}@{}", shard.tensor.name, number);
        const Hdf5Dataset made =
            file.create_dataset(dataset, shard.tensor.dtype, dataset_shape(shard.box.extent));
        check(made.offset >= 0, "{}: {}: HDF5 did not allocate its space early", path, dataset);
        tensors.push_back({shard.tensor, {{shard.box, rank_file_name(rank), dataset, made.offset, {}}}});
    }
    file.close();
}

StoredFile stored_file(const std::string& folder, const std::string& name) {
    const std::string path = folder + "/" + name;
    int64_t bytes = 0;
    open_regular_file(path, ExitCode::cannot_write, Symlinks::refuse, &bytes);
    return {name, bytes, sha256_file_hex(path, ExitCode::cannot_write)};
}

constexpr size_t kSaveIdDigits = 32;

std::string random_save_id() {
    std::random_device device;
    return fmt::format("{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device());
}

// What a rank tells the others: its result, or the error that took its place.
template <typename Work>
std::string result_or_error(Work work) {
    const auto encode = [](ExitCode code, std::string_view text) {
        return fmt::format("{:03}{}", static_cast<int>(code), text);
    };
    try {
        return encode(ExitCode::ok, work());
    } catch (const Error& error) {
        return encode(error.exit_code(), error.what());
    } catch (const std::exception& error) {
        return encode(ExitCode::internal, error.what());
    }
}

// Does this rank's work and returns every rank's result. The error of the first rank that has one is thrown
// on all of them, so that none waits for a rank that gave up.
template <typename Work>
std::vector<std::string> on_all_ranks(const GatherText& gather, Work work) {
    std::vector<std::string> results = gather(result_or_error(work));
    for (std::string& result : results) {
        const auto code = static_cast<ExitCode>(std::stoi(result.substr(0, 3)));
        result.erase(0, 3);
        if (code != ExitCode::ok) throw AgreedError(code, result);
    }
    return results;
}

} // namespace

std::vector<int64_t> dataset_shape(const std::vector<int64_t>& extent) {
    return extent.empty() ? std::vector<int64_t>{1} : extent;
}

std::string save_checkpoint(const std::string& folder, std::span<const TensorShard> shards,
                            const CheckpointContent& content, int rank, const GatherText& gather,
                            const SaveOptions& options) {
    const int64_t step = content.training.step;
    const std::string target = folder + "/" + checkpoint_name(step);
    std::optional<AtomicOutput> output; // rank 0 only
    const auto begin = [&]() -> std::string {
        if (rank != 0) return "";
        create_checkpoints_folder(folder);
        remove_temporary_checkpoints(folder);
        output.emplace(target, Overwrite::yes);
        create_folder(output->path(), kCheckpointFolderMode);
        return random_save_id() + output->path();
    };
    const std::string begun = on_all_ranks(gather, begin)[0];
    const std::string save_id = begun.substr(0, kSaveIdDigits), temporary = begun.substr(kSaveIdDigits);

    const auto write = [&] {
        return to_text(write_rank_file(temporary, rank, save_id, step, shards, options.block_bytes));
    };
    const std::vector<std::string> written = on_all_ranks(gather, write);

    const auto publish = [&]() -> std::string {
        if (rank != 0) return "";
        std::vector<RankRecord> records;
        for (const std::string& record : written) records.push_back(parse_rank_record(record));
        write_manifest(temporary, save_id, content, records, options.block_bytes);
        output->publish();
        prune_checkpoints(folder, step, options.keep);
        return "";
    };
    on_all_ranks(gather, publish);
    return target;
}

RankRecord write_rank_file(const std::string& folder, int rank, const std::string& save_id, int64_t step,
                           std::span<const TensorShard> shards, int64_t block_bytes) {
    RankRecord record;
    if (shards.empty()) return record;
    for (const TensorShard& shard : shards) expect_valid(shard, rank, step);
    const std::string name = rank_file_name(rank), path = folder + "/" + name;
    create_datasets(path, rank, save_id, step, shards, record.tensors);

    const FileDescriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!file) throw WriteError("{}: cannot open: {}", path, std::strerror(errno));
    for (size_t i = 0; i < shards.size(); ++i) {
        StoredBox& stored = record.tensors[i].boxes[0];
        stored.blocks = write_blocks(file.get(), shards[i].data, stored.byte, block_bytes, path);
    }
    sync_file(file.get(), path);
    record.files.push_back(stored_file(folder, name));
    return record;
}

void write_manifest(const std::string& folder, const std::string& save_id, const CheckpointContent& content,
                    std::span<const RankRecord> records, int64_t block_bytes) {
    Manifest manifest{save_id, block_bytes, content.layout, content.training, content.config, {}, {}};
    std::map<std::string, StoredTensor> tensors;
    for (const RankRecord& record : records) {
        manifest.files.insert(manifest.files.end(), record.files.begin(), record.files.end());
        for (const StoredTensor& tensor : record.tensors) {
            StoredTensor& merged =
                tensors.try_emplace(tensor.info.name, StoredTensor{tensor.info, {}}).first->second;
            check(merged.info == tensor.info, "checkpoint: ranks disagree on {}", tensor.info.name);
            merged.boxes.insert(merged.boxes.end(), tensor.boxes.begin(), tensor.boxes.end());
        }
    }
    for (auto& [name, tensor] : tensors) manifest.tensors.push_back(std::move(tensor));
    write_checkpoint_index(folder, manifest);
    manifest.files.push_back(stored_file(folder, Manifest::kIndexName));
    std::sort(manifest.files.begin(), manifest.files.end(),
              [](const StoredFile& a, const StoredFile& b) { return a.name < b.name; });
    // Reading back what readers would refuse must fail here, while older checkpoints are still kept.
    const std::string path = fmt::format("{}/{}", folder, Manifest::kFileName);
    const std::string text = to_text(manifest);
    check(static_cast<int64_t>(text.size()) <= Manifest::kMaxBytes, "{}: it needs {} bytes, at most {}", path,
          text.size(), Manifest::kMaxBytes);
    check_manifest(manifest, path);
    const FileDescriptor file = create_file(path, kCheckpointFileMode);
    write_all(file.get(), text.data(), text.size(), path);
    sync_file(file.get(), path);
}

} // namespace braid
