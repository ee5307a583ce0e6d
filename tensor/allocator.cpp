#include "tensor/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "base/error.h"
#include "tensor/build_cuda.h"
#include "tensor/cuda/runtime.h"

namespace braid {
namespace {

size_t size_class(size_t bytes) {
    constexpr size_t kUnit = Allocator::kAlignment;
    const size_t step = bytes <= 8 * kUnit ? kUnit : std::bit_floor(bytes - 1) / 8;
    return std::max<size_t>((bytes + step - 1) / step, 1) * step;
}

} // namespace

Allocator::~Allocator() {
    stream_.synchronize();
    trim();
}

void* Allocator::ask_system(size_t bytes) {
    if (limit_bytes_ && statistics_.reserved_bytes + static_cast<int64_t>(bytes) > limit_bytes_)
        return nullptr;
    if constexpr (kBuildCuda)
        if (device().kind == DeviceKind::cuda) return cuda::allocate(device().index, bytes);
    // Pages of 2 MiB where the kernel has them: a model's first touch is otherwise a page fault every 4 KiB.
    constexpr size_t kHugePage = size_t{1} << 21;
    const bool large = bytes >= 2 * kHugePage;
    void* data = nullptr;
    if (posix_memalign(&data, large ? kHugePage : kAlignment, bytes) != 0) return nullptr;
    if (large) ::madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE); // only a wish
    return data;
}

Allocator::Block Allocator::allocate(size_t bytes) {
    check(bytes <= size_t{1} << 46, "an allocation of {} bytes is surely an overflow", bytes);
    const size_t rounded = size_class(bytes);
    const auto signed_bytes = static_cast<int64_t>(rounded);
    const std::lock_guard lock(mutex_);
    reclaim_locked();
    void* data = nullptr;
    if (auto found = free_blocks_.find(rounded); found != free_blocks_.end() && !found->second.empty()) {
        data = found->second.back();
        found->second.pop_back();
    } else {
        data = ask_system(rounded);
        if (!data) { // unused blocks of other classes may be all that is in the way
            trim_locked();
            data = ask_system(rounded);
        }
        if (!data)
            throw Error(
                ExitCode::usage,
                fmt::format("out of memory on {}: {} bytes asked for, {} bytes in use, limit {}",
                            to_string(device()), bytes, statistics_.used_bytes,
                            limit_bytes_ ? fmt::format("{} bytes", limit_bytes_) : "set by the system"));
        statistics_.reserved_bytes += signed_bytes;
        statistics_.peak_reserved_bytes =
            std::max(statistics_.peak_reserved_bytes, statistics_.reserved_bytes);
    }
    statistics_.used_bytes += signed_bytes;
    statistics_.peak_used_bytes = std::max(statistics_.peak_used_bytes, statistics_.used_bytes);
    return {data, rounded};
}

void Allocator::release(Block block) {
    if (!block.data) return;
    const std::lock_guard lock(mutex_);
    statistics_.used_bytes -= static_cast<int64_t>(block.bytes);
    if (const auto found = uses_.find(block.data); found != uses_.end()) {
        waiting_.push_back({block, std::move(found->second)});
        uses_.erase(found);
        return;
    }
    free_blocks_[block.bytes].push_back(block.data);
}

void Allocator::record_use(const Block& block, const Stream& stream) {
    if (!stream.native() || stream == stream_) return;
    Event event;
    event.record(stream);
    const std::lock_guard lock(mutex_);
    uses_[block.data].push_back(std::move(event));
}

void Allocator::reclaim_locked() {
    std::erase_if(waiting_, [&](const Waiting& waiting) {
        const bool free = std::all_of(waiting.uses.begin(), waiting.uses.end(),
                                      [](const Event& use) { return use.reached(); });
        if (free) free_blocks_[waiting.block.bytes].push_back(waiting.block.data);
        return free;
    });
}

void Allocator::trim() {
    const std::lock_guard lock(mutex_);
    trim_locked();
}

void Allocator::trim_locked() {
    reclaim_locked();
    const auto give_back = [&](void* data) {
        if constexpr (kBuildCuda)
            if (device().kind == DeviceKind::cuda) return cuda::release(device().index, data);
        std::free(data);
    };
    for (auto& [bytes, blocks] : free_blocks_) {
        for (void* data : blocks) give_back(data);
        statistics_.reserved_bytes -= static_cast<int64_t>(bytes * blocks.size());
    }
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
