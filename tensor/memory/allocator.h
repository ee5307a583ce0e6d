#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tensor/memory/block_pool.h"
#include "tensor/memory/device.h"

namespace braid {

/// Memory of one device, handed out in blocks that are kept for reuse when given back. Thread-safe.
///
/// On a GPU all work on the memory is meant to run in one stream, that of the allocator: a block that is
/// given back may be handed out at once, since what uses it next is queued behind what used it last. Use in
/// another stream is announced with record_use(), and keeps the block until that stream has passed; or the
/// allocator's stream is made to wait for it before the block is given back, as collectives do (Pending).
///
/// On the CPU blocks are aligned to kAlignment bytes and rounded up to a size class (each power of two split
/// in eight, so at most one eighth is lost); a block is reused only for its own class. On a GPU they are cut
/// from larger segments and joined again (BlockPool); with the environment's BRAID_SEPARATE_BLOCKS=1, for
/// checkers of memory accesses, each is asked of the driver by itself. Contents are not cleared.
class Allocator {
  public:
    static constexpr size_t kAlignment = 64; // at least; BlockPool::kAlignment on a GPU

    struct Block {
        void* data = nullptr;
        size_t bytes = 0; // as rounded up
    };

    /// Byte counters. `used` is what tensors hold now, `reserved` what the system gave; peaks since the last
    /// reset.
    struct Statistics {
        int64_t used_bytes = 0, peak_used_bytes = 0, reserved_bytes = 0, peak_reserved_bytes = 0;
    };

    /// limit_bytes bounds `reserved`; 0 leaves it to the system.
    explicit Allocator(Device device = {}, int64_t limit_bytes = 0)
        : Allocator(Stream(device), limit_bytes) {}
    /// Of the stream's device, for work in that stream.
    explicit Allocator(const Stream& stream, int64_t limit_bytes = 0);
    ~Allocator();
    Allocator(const Allocator&) = delete;
    Allocator& operator=(const Allocator&) = delete;

    Device device() const { return stream_.device(); }
    /// The stream that operations on this memory run in.
    const Stream& stream() const { return stream_; }
    /// Bytes of all memory of the device, whoever holds it, so the same at any time; 0 on the CPU.
    int64_t device_bytes() const;
    /// Throws Error (exit 2, a plan that does not fit) when the system or the limit refuses.
    Block allocate(size_t bytes);
    void release(Block block);
    /// Work that `stream` has been given by now reads or writes the block.
    void record_use(const Block& block, const Stream& stream);
    /// Gives every unused block back to the system; on a GPU every segment without a block in use.
    void trim();

    Statistics statistics() const;
    void reset_peaks();

  private:
    class DeviceSegments;

    void* ask_system(size_t bytes);
    void give_back(void* data, size_t bytes);
    void* allocate_on_host(size_t bytes);
    void trim_locked();
    std::string refusal(size_t bytes) const;

    const Stream stream_;
    const int64_t limit_bytes_;
    mutable std::mutex mutex_;
    mutable int64_t device_bytes_ = 0;                 // once asked for
    std::map<size_t, std::vector<void*>> free_blocks_; // of the CPU, by size class
    std::unique_ptr<SegmentSource> segments_;          // of a GPU, as is the pool
    std::unique_ptr<BlockPool> pool_;
    Statistics statistics_;
};

} // namespace braid
