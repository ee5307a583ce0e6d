#include "tensor/memory/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "tensor/cuda/runtime.h"
#include "tensor/memory/build_cuda.h"

namespace braid {
namespace {

// Pages of 2 MiB where the kernel has them: a model's first touch is otherwise a page fault every 4 KiB.
constexpr size_t kHugePage = size_t{1} << 21;

size_t size_class(size_t bytes) {
    constexpr size_t kUnit = Allocator::kAlignment;
    const size_t step = bytes <= 8 * kUnit ? kUnit : std::bit_floor(bytes - 1) / 8;
    return std::max<size_t>((bytes + step - 1) / step, 1) * step;
}

void* host_memory(size_t bytes) {
    const bool large = bytes >= 2 * kHugePage;
    void* data = nullptr;
    if (posix_memalign(&data, large ? kHugePage : Allocator::kAlignment, bytes) != 0) return nullptr;
    if (large) ::madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE); // only a wish
    return data;
}

} // namespace

/// Memory of the GPU as the driver gives it.
class Allocator::DeviceSegments : public SegmentSource {
  public:
    explicit DeviceSegments(Allocator& owner) : owner_(owner) {}
    void* take(size_t bytes) override { return owner_.ask_system(bytes); }
    void give_back(void* segment, size_t bytes) override {
        // The driver waits for all work on the device, but does not look whether that can still end.
        owner_.stream_.synchronize();
        owner_.give_back(segment, bytes);
    }

  private:
    Allocator& owner_;
};

Allocator::Allocator(const Stream& stream, int64_t limit_bytes) : stream_(stream), limit_bytes_(limit_bytes) {
    if (device().kind != DeviceKind::cuda) return;
    const char* separate = std::getenv("BRAID_SEPARATE_BLOCKS");
    segments_ = std::make_unique<DeviceSegments>(*this);
    pool_ = std::make_unique<BlockPool>(*segments_, separate && std::string_view(separate) == "1"
                                                        ? BlockPool::Segments::one_per_block
                                                        : BlockPool::Segments::shared);
}

Allocator::~Allocator() {
    try {
        stream_.synchronize();
        trim();
    } catch (const Error&) {
        // The device or a rank that it waits for has failed, which others report; the end of the process
        // gives its memory back.
    }
}

void* Allocator::ask_system(size_t bytes) {
    if (limit_bytes_ && statistics_.reserved_bytes + static_cast<int64_t>(bytes) > limit_bytes_)
        return nullptr;
    void* data = nullptr;
    if (device().kind == DeviceKind::cpu)
        data = host_memory(bytes);
    else if constexpr (kBuildCuda)
        data = cuda::allocate(device().index, bytes);
    if (!data) return nullptr;
    statistics_.reserved_bytes += static_cast<int64_t>(bytes);
    statistics_.peak_reserved_bytes = std::max(statistics_.peak_reserved_bytes, statistics_.reserved_bytes);
    return data;
}

void Allocator::give_back(void* data, size_t bytes) {
    if (device().kind == DeviceKind::cpu)
        std::free(data);
    else if constexpr (kBuildCuda)
        cuda::release(device().index, data);
    statistics_.reserved_bytes -= static_cast<int64_t>(bytes);
}

int64_t Allocator::device_bytes() const {
    const std::lock_guard lock(mutex_);
    if constexpr (kBuildCuda)
        if (device_bytes_ == 0 && device().kind == DeviceKind::cuda)
            device_bytes_ = static_cast<int64_t>(cuda::device_info(device().index).total_bytes);
    return device_bytes_;
}

Allocator::Block Allocator::allocate(size_t bytes) {
    check(bytes <= size_t{1} << 46, "an allocation of {} bytes is surely an overflow", bytes);
    const std::lock_guard lock(mutex_);
    const size_t rounded = pool_ ? pool_->rounded(bytes) : size_class(bytes);
    void* const data = pool_ ? pool_->allocate(bytes) : allocate_on_host(rounded);
    if (!data) throw Error(ExitCode::usage, refusal(bytes));
    statistics_.used_bytes += static_cast<int64_t>(rounded);
    statistics_.peak_used_bytes = std::max(statistics_.peak_used_bytes, statistics_.used_bytes);
    return {data, rounded};
}

void* Allocator::allocate_on_host(size_t bytes) {
    if (auto found = free_blocks_.find(bytes); found != free_blocks_.end() && !found->second.empty()) {
        void* const data = found->second.back();
        found->second.pop_back();
        return data;
    }
    if (void* const data = ask_system(bytes)) return data;
    trim_locked(); // unused blocks of other classes may be all that is in the way
    return ask_system(bytes);
}

std::string Allocator::refusal(size_t bytes) const {
    std::string text = fmt::format(
        "out of memory on {}: {} bytes asked for, {} bytes in use, limit {}", to_string(device()), bytes,
        statistics_.used_bytes, limit_bytes_ ? fmt::format("{} bytes", limit_bytes_) : "set by the system");
    if constexpr (kBuildCuda)
        if (pool_) {
            const cuda::DeviceInfo info = cuda::device_info(device().index);
            text += fmt::format(
                "; {} bytes reserved, of which the largest free block has {}; of the device's {} bytes {} "
                "are free",
                statistics_.reserved_bytes, pool_->largest_free_bytes(), info.total_bytes, info.free_bytes);
        }
    return text;
}

void Allocator::release(Block block) {
    if (!block.data) return;
    const std::lock_guard lock(mutex_);
    statistics_.used_bytes -= static_cast<int64_t>(block.bytes);
    if (pool_) return pool_->release(block.data);
    free_blocks_[block.bytes].push_back(block.data);
}

void Allocator::record_use(const Block& block, const Stream& stream) {
    if (!stream.native() || stream == stream_) return;
    Event event;
    event.record(stream);
    const std::lock_guard lock(mutex_);
    pool_->record_use(block.data, [event] { return event.reached(); });
}

void Allocator::trim() {
    const std::lock_guard lock(mutex_);
    trim_locked();
}

void Allocator::trim_locked() {
    if (pool_) pool_->trim();
    for (const auto& [bytes, blocks] : free_blocks_)
        for (void* data : blocks) give_back(data, bytes);
    free_blocks_.clear();
}

Allocator::Statistics Allocator::statistics() const {
    const std::lock_guard lock(mutex_);
    return statistics_;
}

void Allocator::reset_peaks() {
    const std::lock_guard lock(mutex_);
    statistics_.peak_used_bytes = statistics_.used_bytes;
    statistics_.peak_reserved_bytes = statistics_.reserved_bytes;
}

} // namespace braid
