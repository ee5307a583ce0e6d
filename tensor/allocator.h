#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "tensor/device.h"

namespace braid {

/// Memory of one device, handed out in blocks that are kept for reuse when given back. Thread-safe.
///
/// On a GPU all work on the memory is meant to run in one stream, that of the allocator: a block that is
/// given back may be handed out at once, since what uses it next is queued behind what used it last. Use in
/// another stream is announced with record_use(), and keeps the block until that stream has passed.
///
/// Blocks are aligned to kAlignment bytes and rounded up to a size class (each power of two split in eight,
/// so at most one eighth is lost); a block is reused only for its own class. Contents are not cleared.
class Allocator {
  public:
    static constexpr size_t kAlignment = 64;

    struct Block {
        void* data = nullptr;
        size_t bytes = 0; // rounded to the size class
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
    explicit Allocator(const Stream& stream, int64_t limit_bytes = 0)
        : stream_(stream), limit_bytes_(limit_bytes) {}
    ~Allocator();
    Allocator(const Allocator&) = delete;
    Allocator& operator=(const Allocator&) = delete;

    Device device() const { return stream_.device(); }
    /// The stream that operations on this memory run in.
    const Stream& stream() const { return stream_; }
    /// Throws Error (exit 2, a plan that does not fit) when the system or the limit refuses.
    Block allocate(size_t bytes);
    void release(Block block);
    /// Work that `stream` has been given by now reads or writes the block.
    void record_use(const Block& block, const Stream& stream);
    /// Gives every unused block back to the system.
    void trim();

    Statistics statistics() const;
    void reset_peaks();

  private:
    void* ask_system(size_t bytes);
    void trim_locked();
    void reclaim_locked();

    const Stream stream_;
    const int64_t limit_bytes_;
    mutable std::mutex mutex_;
    std::map<size_t, std::vector<void*>> free_blocks_; // by size class
    std::map<void*, std::vector<Event>> uses_;         // in other streams, of blocks in use
    struct Waiting {
        Block block;
        std::vector<Event> uses;
    };
    std::vector<Waiting> waiting_; // given back, still used in other streams
    Statistics statistics_;
};

} // namespace braid
