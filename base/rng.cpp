#include "base/rng.h"

#include <cmath>
#include <numbers>

namespace braid {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
    constexpr uint64_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
    constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
    for (int round = 0; round < 10; ++round) {
        const uint64_t product0 = kMultiplier0 * counter[0], product1 = kMultiplier1 * counter[2];
        counter = {
            static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
            static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
        key[0] += kWeyl0;
        key[1] += kWeyl1;
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
    return (static_cast<double>(bits(index, step) >> 12) + 0.5) * 0x1p-52;
}

double RngStream::normal(uint64_t index, uint64_t step) const {
    return inverse_normal_cdf(uniform(index, step));
}

double inverse_normal_cdf(double p) {
    // A rough start (Hastings' rational approximation, Abramowitz and Stegun 26.2.23, error below 4.5e-4),
    // then Halley steps on erfc, each of which triples the number of correct digits.
    const double tail = p < 0.5 ? p : 1 - p;
    const double t = std::sqrt(-2 * std::log(tail));
    double x =
        t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
    // x is now the positive quantile of the upper tail; solve 0.5 erfc(x / sqrt 2) = tail.
    for (int i = 0; i < 3; ++i) {
        const double density = std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi);
        const double newton = (0.5 * std::erfc(x / std::numbers::sqrt2) - tail) / density;
        x += newton / (1 - 0.5 * x * newton);
    }
    return p < 0.5 ? -x : x;
}

} // namespace braid
