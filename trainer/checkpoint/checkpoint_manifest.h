#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/enum_names.h"
#include "tensor/shape.h"
#include "trainer/checkpoint/checkpoint_box.h"

namespace braid {

enum class TensorKind : uint8_t { parameter, optimizer, buffer };
constexpr auto enum_names(TensorKind) {
    return std::array<std::string_view, 3>{"parameter", "optimizer", "buffer"};
}

/// A global tensor of the training state. Its name is a path of at most 8 parts made of letters, digits, '_',
/// '.' and '-', such as "model/layers.3.attn.q.weight".
struct TensorInfo {
    std::string name;
    TensorKind kind = TensorKind::parameter;
    DType dtype = DType::f32;
    Shape shape;
    bool operator==(const TensorInfo&) const = default;
};

/// Where a part of a tensor lies: packed, in the contiguous dataset `dataset` of `file`, from byte `byte` of
/// the file. blocks[i] is the SHA-256 of its i-th block of Manifest::block_bytes bytes (the last one
/// shorter).
struct StoredBox {
    Box box;
    std::string file, dataset;
    int64_t byte = 0;
    std::vector<std::string> blocks;
    bool operator==(const StoredBox&) const = default;
};

struct StoredTensor {
    TensorInfo info;
    std::vector<StoredBox> boxes; // cover the tensor, each element once
    bool operator==(const StoredTensor&) const = default;
};

struct StoredFile {
    std::string name;
    int64_t bytes = 0;
    std::string sha256;
    bool operator==(const StoredFile&) const = default;
};

/// Where training stands, besides the tensors. Random numbers need no state: they are drawn by counter.
struct TrainingState {
    int64_t step = 0;                         // updates done
    int64_t sample = 0;                       // global index of the next sample
    int64_t tokens = 0;                       // valid labels learned from so far
    std::map<std::string, std::string> data;  // fingerprint of each data file
    std::map<std::string, int64_t> counters;  // whatever else the trainer counts
    std::map<std::string, double> quantities; // finite numbers it keeps, such as "schedule/lr"
    bool operator==(const TrainingState&) const = default;
};

/// The ranks that wrote a checkpoint and their mesh axes. Loading does not depend on it.
struct CheckpointLayout {
    int64_t num_ranks = 1;
    std::map<std::string, int64_t> axes; // size by name, such as "data"
    bool operator==(const CheckpointLayout&) const = default;
};

/// What manifest.json says: all that a checkpoint is, except the numbers in its tensors.
struct Manifest {
    static constexpr int64_t kVersion = 1;
    static constexpr int64_t kMaxBytes = int64_t{64} << 20; // of the file
    static constexpr const char* kFileName = "manifest.json";
    static constexpr const char* kIndexName = "index.h5";

    std::string save_id; // 32 hexadecimal digits, new with every save and repeated in every rank's file
    int64_t block_bytes = 0;
    CheckpointLayout layout;
    TrainingState training;
    std::string config;                // the resolved run file
    std::vector<StoredFile> files;     // by name
    std::vector<StoredTensor> tensors; // by name
    bool operator==(const Manifest&) const = default;

    /// nullptr where there is none of this name.
    const StoredTensor* find(std::string_view name) const;
};

/// The content of manifest.json: a JSON object with one line per file and tensor, whose last line
/// `"sha256":"..."}` holds the SHA-256 of all lines before it.
std::string to_text(const Manifest& manifest);

/// The inverse, for a text nobody vouches for. Checks the hash, then that every value is sane and the boxes
/// of each tensor cover it exactly, then that the text is byte for byte what to_text would have written.
/// CheckpointError naming `path` and the first fault.
Manifest parse_manifest(const std::string& text, const std::string& path);

/// Throws CheckpointError naming `path` unless files, tensors and boxes fit together.
void check_manifest(const Manifest& manifest, const std::string& path);

bool is_tensor_name(std::string_view name);
/// "rank-00003.h5"
std::string rank_file_name(int64_t rank);

/// What one rank wrote, in a form that can be sent to another rank.
struct RankRecord {
    std::vector<StoredFile> files;
    std::vector<StoredTensor> tensors;
};
std::string to_text(const RankRecord& record);
RankRecord parse_rank_record(const std::string& text);

} // namespace braid
