#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace braid {

/// Where a pool's memory comes from, in segments: a GPU's driver, or a test.
class SegmentSource {
  public:
    virtual ~SegmentSource() = default;
    /// Aligned to BlockPool::kAlignment where the pool shares segments. Null where there is no such memory.
    virtual void* take(size_t bytes) = 0;
    virtual void give_back(void* segment, size_t bytes) = 0;
};

/// Blocks cut from segments: bookkeeping for memory that is slow to ask for. It never touches the memory.
///
/// A request gets the smallest free block that holds it, the lowest of equals; the rest of that block stays
/// free. A block that comes back is joined with the free ones before and behind it in its segment. Requests
/// of up to kSmallBytes have segments of their own, as a few bytes that live long would keep a large segment
/// from ever being whole again.
///
/// All blocks are used in one stream, in whose order they may be handed out again at once; whoever uses one
/// elsewhere says so by record_use(). Not thread-safe.
class BlockPool {
  public:
    static constexpr size_t kAlignment = 512;
    static constexpr size_t kSmallBytes = size_t{1} << 20, kSmallSegmentBytes = size_t{2} << 20;
    /// The least of a segment for larger requests; beyond it segments grow by the pages that drivers map.
    static constexpr size_t kLargeSegmentBytes = size_t{32} << 20, kSegmentUnit = size_t{2} << 20;

    /// Whether a use has ended; asked from the thread that calls the pool.
    using Reached = std::function<bool()>;
    enum class Segments { shared, one_per_block };

    /// With one_per_block no memory is shared, nor kept beyond the next request, so that a checker of memory
    /// accesses sees where each block ends. `source` must outlive the pool, which gives back only what trim()
    /// is asked to.
    explicit BlockPool(SegmentSource& source, Segments segments = Segments::shared)
        : source_(source), is_shared_(segments == Segments::shared) {}
    BlockPool(const BlockPool&) = delete;
    BlockPool& operator=(const BlockPool&) = delete;

    /// What a request of so many bytes takes.
    size_t rounded(size_t bytes) const;
    /// Null where there is no memory even after waiting for blocks still in use elsewhere, and then giving
    /// back segments that are all free.
    void* allocate(size_t bytes);
    /// Of allocate(). The block is handed out again once its recorded uses have ended.
    void release(void* data);
    /// The block is used outside the stream until `reached` says otherwise.
    void record_use(void* data, Reached reached);
    /// Gives segments without a block in use back, the largest first, until they add up to `at_least` bytes;
    /// returns what they add up to.
    size_t trim(size_t at_least = ~size_t{0});

    size_t num_segments() const { return segments_.size(); }
    size_t num_free_blocks() const { return free_[0].size() + free_[1].size(); }
    /// Bytes of the largest block that waits for a request.
    size_t largest_free_bytes() const;

  private:
    enum Pool : size_t { small, large };
    enum class State { free, used, waiting }; // waiting: released, still used elsewhere
    struct Block {
        size_t bytes = 0;
        std::byte* segment = nullptr;
        Pool pool = small; // of the segment
        State state = State::free;
        std::vector<Reached> uses = {};
    };
    using Blocks = std::map<std::byte*, Block>; // by address

    static Pool pool_for(size_t bytes) { return bytes <= kSmallBytes ? small : large; }
    void* take_free(Pool pool, size_t bytes);
    /// Whether the source gave a segment for a block of so many bytes, which is free then.
    bool add_segment(size_t bytes);
    void* allocate_at_any_cost(size_t bytes);
    void reclaim();
    void await_uses();
    void make_free(Blocks::iterator block);
    Blocks::iterator used_block(void* data);

    SegmentSource& source_;
    const bool is_shared_;
    Blocks blocks_;
    std::map<std::byte*, size_t> segments_;                       // their bytes
    std::array<std::set<std::pair<size_t, std::byte*>>, 2> free_; // of each Pool, by bytes and address
    std::vector<std::byte*> waiting_;
};

} // namespace braid
