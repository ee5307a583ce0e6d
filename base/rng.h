#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace braid {

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter-based
/// generator. The numbers are a pure function of key and counter, so any rank can draw any element without
/// the ones before it.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

struct Philox {
    static constexpr int kRounds = 10;
    static constexpr uint64_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
    static constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
};

/// What a stream of random numbers is for; part of the key, so that two uses never share numbers.
enum class RngPurpose : uint32_t {
    initialization = 1,
    shuffle = 2,
    sampling = 3,
    blend = 4,
    test = 5,
    synthesis = 6
};

/// An addressable stream of random numbers, keyed by (seed, purpose, name).
class RngStream {
  public:
    RngStream(uint64_t seed, RngPurpose purpose, std::string_view name);

    /// 64 uniform bits for (index, step).
    uint64_t bits(uint64_t index, uint64_t step = 0) const;
    /// Uniform in the open interval (0, 1), with 52 random bits.
    double uniform(uint64_t index, uint64_t step = 0) const;
    /// uniform(first), uniform(first + 1), ...: the same bits, many times as fast.
    void uniforms(uint64_t first, std::span<double> out) const;
    /// Standard normal, through the inverse of the distribution function (one draw per number).
    double normal(uint64_t index, uint64_t step = 0) const;

  private:
    std::array<uint32_t, 2> key_;
    uint32_t name_hash_;
};

/// A 64-bit hash of a text (FNV-1a with a final mix), stable over versions: it keys random streams.
uint64_t stable_hash(std::string_view text);

} // namespace braid
