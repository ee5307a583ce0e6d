#include "base/philox_block.h"

#include "base/highway_targets.h"
#include "base/rng.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "base/philox_block.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace braid::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using U64 = hn::ScalableTag<uint64_t>;
using V = hn::Vec<U64>;

V product(V x, uint64_t multiplier) {
    const U64 d;
    const hn::Repartition<uint32_t, U64> words;
    return hn::MulEven(hn::BitCast(words, x), hn::BitCast(words, hn::Set(d, multiplier)));
}

/// Counters of one vector of indices: a word of 32 bits in each lane of 64, whose upper half may hold
/// anything, as products ignore it.
struct Counters {
    V c0, c1, c2, c3;

    Counters(uint64_t first, uint32_t last_word) {
        const U64 d;
        c0 = hn::Iota(d, first);
        c1 = hn::ShiftRight<32>(c0);
        c2 = hn::Zero(d);
        c3 = hn::Set(d, uint64_t{last_word});
    }
    void mix(V key0, V key1) {
        const V product0 = product(c0, Philox::kMultiplier0), product1 = product(c2, Philox::kMultiplier1);
        c0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product1), c1), key0);
        c1 = product1;
        c2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product0), c3), key1);
        c3 = product0;
    }
    V result() const {
        return hn::Or(hn::ShiftLeft<32>(c0), hn::And(c1, hn::Set(U64(), uint64_t{0xffffffffu})));
    }
};

void make_block(uint64_t first, uint32_t last_word, std::array<uint32_t, 2> key, uint64_t* out,
                size_t count) {
    const U64 d;
    const size_t lanes = hn::Lanes(d);
    for (size_t at = 0; at < count; at += 2 * lanes) {
        // Two at once: each round waits for the products of the one before.
        Counters a(first + at, last_word), b(first + at + lanes, last_word);
        uint32_t key0 = key[0], key1 = key[1];
        for (int round = 0; round < Philox::kRounds; ++round) {
            const V k0 = hn::Set(d, uint64_t{key0}), k1 = hn::Set(d, uint64_t{key1});
            a.mix(k0, k1);
            b.mix(k0, k1);
            key0 += Philox::kWeyl0;
            key1 += Philox::kWeyl1;
        }
        if (at + 2 * lanes <= count) {
            hn::StoreU(a.result(), d, out + at);
            hn::StoreU(b.result(), d, out + at + lanes);
        } else {
            HWY_ALIGN uint64_t rest[2 * HWY_MAX_BYTES / sizeof(uint64_t)];
            hn::Store(a.result(), d, rest);
            hn::Store(b.result(), d, rest + lanes);
            for (size_t i = 0; at + i < count; ++i) out[at + i] = rest[i];
        }
    }
}

} // namespace braid::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace braid {

HWY_EXPORT(make_block);

void philox_block(uint64_t first, uint32_t last_word, std::array<uint32_t, 2> key, uint64_t* out,
                  size_t count) {
    HWY_DYNAMIC_DISPATCH(make_block)(first, last_word, key, out, count);
}

} // namespace braid
#endif
