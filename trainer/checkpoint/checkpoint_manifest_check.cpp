// What must hold between the parts of a manifest.
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "trainer/checkpoint/checkpoint_manifest.h"

namespace braid {

namespace {

constexpr size_t kMaxBoxes = 1 << 14; // of one tensor
constexpr size_t kMaxNameBytes = 255, kMaxNameParts = 8;
constexpr int64_t kMinBlockBytes = 512, kMaxBlockBytes = int64_t{64} << 20; // a reader holds one block

bool is_hex(std::string_view text, size_t digits) {
    return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_rank_file(std::string_view name) {
    constexpr std::string_view kPrefix = "rank-", kSuffix = ".h5";
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return false;
    name = name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
    return name.size() >= 5 && name.size() <= 9 &&
           name.find_first_not_of("0123456789") == std::string_view::npos;
}

// The datasets of a tensor called t are /t, /t@1, /t@2, ...
bool is_dataset_of(std::string_view dataset, std::string_view tensor) {
    if (!dataset.starts_with('/') || dataset.substr(1, tensor.size()) != tensor) return false;
    const std::string_view rest = dataset.substr(1 + tensor.size());
    return rest.empty() || (rest.size() >= 2 && rest.size() <= 7 && rest[0] == '@' &&
                            rest.substr(1).find_first_not_of("0123456789") == std::string_view::npos);
}

class ManifestCheck {
  public:
    ManifestCheck(const Manifest& manifest, const std::string& path) : manifest_(manifest), path_(path) {}

    void run() {
        check_header();
        check_files();
        const StoredTensor* previous = nullptr;
        for (const StoredTensor& tensor : manifest_.tensors) {
            if (previous && previous->info.name >= tensor.info.name)
                fail("tensors: expected ascending names, found '{}' before '{}'", previous->info.name,
                     tensor.info.name);
            check_tensor(tensor);
            previous = &tensor;
        }
        check_ranges();
    }

  private:
    template <typename... Args>
    [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
        throw CheckpointError("{}: {}", path_, fmt::format(format, std::forward<Args>(args)...));
    }

    void check_header() const {
        if (!is_hex(manifest_.save_id, 32)) fail("save_id: expected 32 hexadecimal digits");
        const int64_t block = manifest_.block_bytes;
        if (block < kMinBlockBytes || block > kMaxBlockBytes)
            fail("block_bytes: expected {} to {}, found {}", kMinBlockBytes, kMaxBlockBytes, block);
        if (manifest_.layout.num_ranks < 1)
            fail("layout: expected at least 1 rank, found {}", manifest_.layout.num_ranks);
        const TrainingState& state = manifest_.training;
        if (state.step < 0 || state.sample < 0 || state.tokens < 0)
            fail("training: expected counts from 0 up, found step {}, sample {}, tokens {}", state.step,
                 state.sample, state.tokens);
    }

    void check_files() {
        const StoredFile* previous = nullptr;
        for (const StoredFile& file : manifest_.files) {
            if (!is_rank_file(file.name) && file.name != Manifest::kIndexName)
                fail("files: expected rank-NNNNN.h5 or {}, found '{}'", Manifest::kIndexName, file.name);
            if (previous && previous->name >= file.name)
                fail("files: expected ascending names, found '{}' before '{}'", previous->name, file.name);
            if (file.bytes < 0 || !is_hex(file.sha256, 64))
                fail("files: {}: expected a size and a SHA-256, found {} and '{}'", file.name, file.bytes,
                     file.sha256);
            if (is_rank_file(file.name)) ranges_[file.name] = {};
            sizes_[file.name] = file.bytes;
            previous = &file;
        }
        if (!sizes_.contains(Manifest::kIndexName)) fail("files: {} is missing", Manifest::kIndexName);
    }

    void check_tensor(const StoredTensor& tensor) {
        if (!is_tensor_name(tensor.info.name)) fail("tensors: '{}' is no tensor name", tensor.info.name);
        if (tensor.boxes.size() > kMaxBoxes)
            fail("{}: expected at most {} boxes, found {}", tensor.info.name, kMaxBoxes, tensor.boxes.size());
        for (const StoredBox& stored : tensor.boxes) check_box(tensor, stored);
        check_cover(tensor);
    }

    void check_box(const StoredTensor& tensor, const StoredBox& stored) {
        const std::string& name = tensor.info.name;
        if (!lies_within(stored.box, tensor.info.shape))
            fail("{}: a box of [{}] at [{}] is not within the shape {}", name,
                 fmt::join(stored.box.extent, ", "), fmt::join(stored.box.offset, ", "),
                 to_string(tensor.info.shape));
        const auto ranges = ranges_.find(stored.file);
        if (ranges == ranges_.end()) fail("{}: its file '{}' is not listed", name, stored.file);
        if (!is_dataset_of(stored.dataset, name)) fail("{}: its dataset is '{}'", name, stored.dataset);
        const int64_t bytes = stored.box.numel() * static_cast<int64_t>(size_of(tensor.info.dtype));
        const int64_t size = sizes_[stored.file];
        if (bytes > size || stored.byte < 0 || stored.byte > size - bytes)
            fail("{}: {} bytes at byte {} are not within {}, which has {} bytes", name, bytes, stored.byte,
                 stored.file, size);
        const int64_t num_blocks = (bytes - 1) / manifest_.block_bytes + 1;
        if (static_cast<int64_t>(stored.blocks.size()) != num_blocks ||
            !std::all_of(stored.blocks.begin(), stored.blocks.end(),
                         [](const std::string& hash) { return is_hex(hash, 64); }))
            fail("{}: expected the SHA-256 of {} blocks, found {} texts", name, num_blocks,
                 stored.blocks.size());
        ranges->second.push_back({stored.byte, stored.byte + bytes, &name});
        if (!datasets_.insert({stored.file, stored.dataset}).second)
            fail("{}: two boxes share dataset {} of {}", name, stored.dataset, stored.file);
    }

    void check_cover(const StoredTensor& tensor) const {
        int64_t held = 0;
        std::vector<const Box*> boxes;
        for (const StoredBox& stored : tensor.boxes) {
            if (__builtin_add_overflow(held, stored.box.numel(), &held))
                fail("{}: its boxes overlap", tensor.info.name);
            boxes.push_back(&stored.box);
        }
        if (held != tensor.info.shape.numel())
            fail("{}: its boxes hold {} of {} elements", tensor.info.name, held, tensor.info.shape.numel());
        if (!cover_once(boxes, tensor.info.shape)) fail("{}: its boxes overlap", tensor.info.name);
    }

    void check_ranges() {
        for (auto& [file, ranges] : ranges_) {
            std::sort(ranges.begin(), ranges.end(),
                      [](const Range& a, const Range& b) { return a.first < b.first; });
            for (size_t i = 1; i < ranges.size(); ++i)
                if (ranges[i].first < ranges[i - 1].last)
                    fail("{}: {} and {} share bytes", file, *ranges[i - 1].name, *ranges[i].name);
        }
    }

    struct Range {
        int64_t first, last; // bytes of the file
        const std::string* name;
    };

    const Manifest& manifest_;
    const std::string& path_;
    std::map<std::string, int64_t> sizes_;
    std::map<std::string, std::vector<Range>> ranges_; // of the ranks' files
    std::set<std::pair<std::string, std::string>> datasets_;
};

} // namespace

bool is_tensor_name(std::string_view name) {
    constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    if (name.size() > kMaxNameBytes) return false;
    size_t num_parts = 0;
    for (size_t start = 0; start <= name.size(); ++num_parts) {
        const size_t end = std::min(name.find('/', start), name.size());
        const std::string_view part = name.substr(start, end - start);
        if (part.find_first_not_of(kAllowed) != std::string_view::npos ||
            part.find_first_not_of('.') == std::string_view::npos)
            return false; // "", "." and ".." among them
        start = end + 1;
    }
    return num_parts <= kMaxNameParts;
}

std::string rank_file_name(int64_t rank) {
    return fmt::format("rank-{:05}.h5", rank);
}

void check_manifest(const Manifest& manifest, const std::string& path) {
    ManifestCheck(manifest, path).run();
}

} // namespace braid
