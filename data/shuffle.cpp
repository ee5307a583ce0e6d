#include "data/shuffle.h"

#include <bit>

#include "base/error.h"

namespace braid {

namespace {

// Four rounds already look random to an adversary who may ask both ways; eight cost half a microsecond.
constexpr uint64_t kRounds = 8;

} // namespace

Permutation::Permutation(int64_t size, uint64_t seed, std::string_view name)
    : size_(size), round_(seed, RngPurpose::shuffle, name) {
    check(size >= 1, "a permutation of {} elements", size);
    const int bits = std::bit_width(static_cast<uint64_t>(size - 1));
    half_bits_ = bits < 2 ? 1 : (bits + 1) / 2;
}

int64_t Permutation::operator()(int64_t index) const {
    check(index >= 0 && index < size_, "index {} into a permutation of {} elements", index, size_);
    const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
    auto value = static_cast<uint64_t>(index);
    do {
        uint64_t left = value >> half_bits_, right = value & mask;
        for (uint64_t round = 0; round < kRounds; ++round) {
            const uint64_t next = left ^ (round_.bits(right, round) & mask);
            left = right;
            right = next;
        }
        value = left << half_bits_ | right;
    } while (value >= static_cast<uint64_t>(size_));
    return static_cast<int64_t>(value);
}

} // namespace braid
