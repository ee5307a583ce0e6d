#include "base/rng.h"

#include <algorithm>
#include <bit>
#include <cmath>

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

namespace {

/// c[0] + c[1] x + ... + c[7] x^7.
double polynomial(const std::array<double, 8>& c, double x) {
    // Written out: a loop here would keep the loop around it from becoming vectors.
    return ((((((c[7] * x + c[6]) * x + c[5]) * x + c[4]) * x + c[3]) * x + c[2]) * x + c[1]) * x + c[0];
}

// Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution", Applied Statistics 37
// (1988), routine PPND16: one ratio of polynomials for the middle 85% and two for the tails.
constexpr std::array<double, 8> kMiddleAbove{
    3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
    4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3};
constexpr std::array<double, 8> kMiddleBelow{1.0,
                                             4.2313330701600911252e1,
                                             6.8718700749205790830e2,
                                             5.3941960214247511077e3,
                                             2.1213794301586595867e4,
                                             3.9307895800092710610e4,
                                             2.8729085735721942674e4,
                                             5.2264952788528545610e3};
constexpr std::array<double, 8> kTailAbove{1.42343711074968357734e0,  4.63033784615654529590e0,
                                           5.76949722146069140550e0,  3.64784832476320460504e0,
                                           1.27045825245236838258e0,  2.41780725177450611770e-1,
                                           2.27238449892691845833e-2, 7.74545014278341407640e-4};
constexpr std::array<double, 8> kTailBelow{1.0,
                                           2.05319162663775882187e0,
                                           1.67638483018380384940e0,
                                           6.89767334985100004550e-1,
                                           1.48103976427480074590e-1,
                                           1.51986665636164571966e-2,
                                           5.47593808499534494600e-4,
                                           1.05075007164441684324e-9};
constexpr std::array<double, 8> kFarAbove{6.65790464350110377720e0,  5.46378491116411436990e0,
                                          1.78482653991729133580e0,  2.96560571828504891230e-1,
                                          2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                          2.71155556874348757815e-5, 2.01033439929228813265e-7};
constexpr std::array<double, 8> kFarBelow{1.0,
                                          5.99832206555887937690e-1,
                                          1.36929880922735805310e-1,
                                          1.48753612908506148525e-2,
                                          7.86869131145613259100e-4,
                                          1.84631831751005468180e-5,
                                          1.42151175831644588870e-7,
                                          2.04426310338993978564e-15};
constexpr double kMiddle = 0.425; // half the width of the middle, in probability

double middle_quantile(double q) {
    const double r = 0.180625 - q * q;
    return q * polynomial(kMiddleAbove, r) / polynomial(kMiddleBelow, r);
}

double tail_quantile(double p) {
    const double r = std::sqrt(-std::log(p < 0.5 ? p : 1 - p));
    const double x = r <= 5 ? polynomial(kTailAbove, r - 1.6) / polynomial(kTailBelow, r - 1.6)
                            : polynomial(kFarAbove, r - 5) / polynomial(kFarBelow, r - 5);
    return p < 0.5 ? -x : x;
}

} // namespace

double inverse_normal_cdf(double p) {
    return std::abs(p - 0.5) <= kMiddle ? middle_quantile(p - 0.5) : tail_quantile(p);
}

void inverse_normal_cdf(std::span<double> p) {
    // The middle's ratio for all, as a loop without branches that becomes vectors; then the 15% in the tails.
    constexpr size_t kBlock = 256;
    std::array<double, kBlock> probabilities;
    for (size_t first = 0; first < p.size(); first += kBlock) {
        const size_t count = std::min(kBlock, p.size() - first);
        double* block = p.data() + first;
        std::copy_n(block, count, probabilities.data());
#pragma omp simd
        for (size_t i = 0; i < count; ++i) block[i] = middle_quantile(probabilities[i] - 0.5);
        for (size_t i = 0; i < count; ++i)
            if (std::abs(probabilities[i] - 0.5) > kMiddle) block[i] = tail_quantile(probabilities[i]);
    }
}

} // namespace braid
