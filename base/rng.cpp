#include "base/rng.h"

#include <algorithm>
#include <bit>

#include "base/normal_quantile.h"
#include "base/philox_block.h"

namespace braid {

namespace {

double to_uniform(uint64_t bits) {
    // The 52 bits as the digits of a double from 2^52 on: exact, and unlike a conversion made in vectors.
    const double whole = std::bit_cast<double>(bits >> 12 | uint64_t{0x433} << 52) - 0x1p52;
    return (whole + 0.5) * 0x1p-52;
}

} // namespace

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
    for (int round = 0; round < Philox::kRounds; ++round) {
        const uint64_t product0 = Philox::kMultiplier0 * counter[0],
                       product1 = Philox::kMultiplier1 * counter[2];
        counter = {
            static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
            static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
        key[0] += Philox::kWeyl0;
        key[1] += Philox::kWeyl1;
    }
    return counter;
}

uint64_t stable_hash(std::string_view text) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3u;
    hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdu;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53u;
    return hash ^ (hash >> 33);
}

RngStream::RngStream(uint64_t seed, RngPurpose purpose, std::string_view name) {
    const uint64_t hash = stable_hash(name);
    name_hash_ = static_cast<uint32_t>(hash >> 32);
    // The counter has room for 32 bits of the name only; the other half is folded into the key with the seed.
    const uint64_t key = seed * 0x9e3779b97f4a7c15u + (hash & 0xffffffffu) * 0xd1342543de82ef95u +
                         static_cast<uint64_t>(purpose) * 0xaf251af3b0f025b5u;
    key_ = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
}

uint64_t RngStream::bits(uint64_t index, uint64_t step) const {
    const auto words = philox({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                               static_cast<uint32_t>(step), name_hash_},
                              key_);
    return static_cast<uint64_t>(words[0]) << 32 | words[1];
}

double RngStream::uniform(uint64_t index, uint64_t step) const {
    return to_uniform(bits(index, step));
}

void RngStream::uniforms(uint64_t first, std::span<double> out) const {
    constexpr size_t kBlock = 256;
    std::array<uint64_t, kBlock> words;
    for (size_t begin = 0; begin < out.size(); begin += kBlock) {
        const size_t count = std::min(kBlock, out.size() - begin);
        philox_block(first + begin, name_hash_, key_, words.data(), count);
        for (size_t i = 0; i < count; ++i) out[begin + i] = to_uniform(words[i]);
    }
}

double RngStream::normal(uint64_t index, uint64_t step) const {
    return inverse_normal_cdf(uniform(index, step));
}

} // namespace braid
