#include "tensor/memory/block_pool.h"

#include <algorithm>

#include "base/error.h"
#include "tensor/memory/host_wait.h"

namespace braid {
namespace {

size_t round_up(size_t bytes, size_t unit) {
    return std::max<size_t>((bytes + unit - 1) / unit, 1) * unit;
}

size_t segment_bytes(size_t block_bytes) {
    if (block_bytes <= BlockPool::kSmallBytes) return BlockPool::kSmallSegmentBytes;
    return std::max(round_up(block_bytes, BlockPool::kSegmentUnit), BlockPool::kLargeSegmentBytes);
}

bool all_reached(std::vector<BlockPool::Reached>& uses) {
    std::erase_if(uses, [](const BlockPool::Reached& reached) { return reached(); });
    return uses.empty();
}

} // namespace

size_t BlockPool::rounded(size_t bytes) const {
    constexpr size_t kVectorBytes = 16; // of the widest access, which may run to a block's rounded end
    return round_up(bytes, is_shared_ ? kAlignment : kVectorBytes);
}

void* BlockPool::allocate(size_t bytes) {
    bytes = rounded(bytes);
    reclaim();
    if (!is_shared_) trim();
    if (void* found = take_free(pool_for(bytes), bytes)) return found;
    if (add_segment(bytes)) return take_free(pool_for(bytes), bytes);
    return allocate_at_any_cost(bytes);
}

void* BlockPool::allocate_at_any_cost(size_t bytes) {
    const Pool pool = pool_for(bytes);
    await_uses();
    if (void* found = take_free(pool, bytes)) return found;
    // Each segment given back costs a wait for the whole device, now and when it is asked for again: no more
    // of them than are missing, unless the driver still refuses.
    for (const size_t missing : {segment_bytes(bytes), ~size_t{0}}) {
        if (trim(missing) == 0) break;
        if (add_segment(bytes)) return take_free(pool, bytes);
    }
    return pool == small ? take_free(large, bytes) : nullptr;
}

void* BlockPool::take_free(Pool pool, size_t bytes) {
    const auto best = free_[pool].lower_bound({bytes, nullptr});
    if (best == free_[pool].end()) return nullptr;
    std::byte* const data = best->second;
    free_[pool].erase(best);
    Block& block = blocks_.at(data);
    if (const size_t rest = block.bytes - bytes; rest > 0) {
        blocks_[data + bytes] = {.bytes = rest, .segment = block.segment, .pool = pool};
        free_[pool].insert({rest, data + bytes});
        block.bytes = bytes;
    }
    block.state = State::used;
    return data;
}

bool BlockPool::add_segment(size_t bytes) {
    size_t taken = is_shared_ ? segment_bytes(bytes) : bytes;
    auto* data = static_cast<std::byte*>(source_.take(taken));
    if (!data && taken > bytes) data = static_cast<std::byte*>(source_.take(taken = bytes));
    if (!data) return false;
    const Pool pool = pool_for(bytes);
    segments_[data] = taken;
    blocks_[data] = {.bytes = taken, .segment = data, .pool = pool};
    free_[pool].insert({taken, data});
    return true;
}

BlockPool::Blocks::iterator BlockPool::used_block(void* data) {
    const auto found = blocks_.find(static_cast<std::byte*>(data));
    check(found != blocks_.end() && found->second.state == State::used, "no block in use starts at {}", data);
    return found;
}

void BlockPool::record_use(void* data, Reached reached) {
    used_block(data)->second.uses.push_back(std::move(reached));
}

void BlockPool::release(void* data) {
    const auto block = used_block(data);
    // Whether uses have ended is asked later: asking may throw, and tensors are let go in destructors.
    if (block->second.uses.empty()) return make_free(block);
    block->second.state = State::waiting;
    waiting_.push_back(block->first);
}

void BlockPool::make_free(Blocks::iterator block) {
    auto& free = free_[block->second.pool];
    const auto is_joined = [&](Blocks::iterator other) {
        return other->second.segment == block->second.segment && other->second.state == State::free;
    };
    block->second.state = State::free;
    if (const auto next = std::next(block); next != blocks_.end() && is_joined(next)) {
        free.erase({next->second.bytes, next->first});
        block->second.bytes += next->second.bytes;
        blocks_.erase(next);
    }
    if (block != blocks_.begin() && is_joined(std::prev(block))) {
        const auto previous = std::prev(block);
        free.erase({previous->second.bytes, previous->first});
        previous->second.bytes += block->second.bytes;
        blocks_.erase(block);
        block = previous;
    }
    free.insert({block->second.bytes, block->first});
}

void BlockPool::reclaim() {
    if (waiting_.empty()) return;
    // All are asked before any is changed, as asking may throw.
    const auto reached = std::partition(waiting_.begin(), waiting_.end(),
                                        [&](std::byte* data) { return !all_reached(blocks_.at(data).uses); });
    const std::vector<std::byte*> ended(reached, waiting_.end());
    waiting_.erase(reached, waiting_.end());
    for (std::byte* data : ended) make_free(blocks_.find(data));
}

void BlockPool::await_uses() {
    for (std::byte* data : waiting_) wait_on_host([&] { return all_reached(blocks_.at(data).uses); });
    reclaim();
}

size_t BlockPool::trim(size_t at_least) {
    reclaim();
    std::vector<std::pair<size_t, std::byte*>> whole;
    for (const auto& free : free_)
        for (const auto& [bytes, data] : free)
            if (const auto found = segments_.find(data); found != segments_.end() && found->second == bytes)
                whole.emplace_back(bytes, data);
    std::sort(whole.rbegin(), whole.rend());
    size_t given = 0;
    for (const auto& [bytes, data] : whole) {
        if (given >= at_least) break;
        source_.give_back(data, bytes);
        free_[blocks_.at(data).pool].erase({bytes, data});
        blocks_.erase(data);
        segments_.erase(data);
        given += bytes;
    }
    return given;
}

size_t BlockPool::largest_free_bytes() const {
    size_t largest = 0;
    for (const auto& free : free_)
        if (!free.empty()) largest = std::max(largest, free.rbegin()->first);
    return largest;
}

} // namespace braid
