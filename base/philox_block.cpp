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

/// A word of 32 bits in each lane of 64, whose upper half may hold anything: products ignore it.
void make_block(uint64_t first, uint32_t last_word, std::array<uint32_t, 2> key, uint64_t* out,
                size_t count) {
    const hn::ScalableTag<uint64_t> d;
    const hn::Repartition<uint32_t, decltype(d)> words;
    using V = hn::Vec<decltype(d)>;
    const auto product = [&](V x, uint64_t multiplier) {
        return hn::MulEven(hn::BitCast(words, x), hn::BitCast(words, hn::Set(d, multiplier)));
    };
    const size_t lanes = hn::Lanes(d);
    for (size_t at = 0; at < count; at += lanes) {
        V c0 = hn::Iota(d, first + at), c1 = hn::ShiftRight<32>(c0), c2 = hn::Zero(d),
          c3 = hn::Set(d, uint64_t{last_word});
        uint32_t key0 = key[0], key1 = key[1];
        for (int round = 0; round < Philox::kRounds; ++round) {
            const V product0 = product(c0, Philox::kMultiplier0),
                    product1 = product(c2, Philox::kMultiplier1);
            c0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product1), c1), hn::Set(d, uint64_t{key0}));
            c1 = product1;
            c2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product0), c3), hn::Set(d, uint64_t{key1}));
            c3 = product0;
            key0 += Philox::kWeyl0;
            key1 += Philox::kWeyl1;
        }
        const V result = hn::Or(hn::ShiftLeft<32>(c0), hn::And(c1, hn::Set(d, uint64_t{0xffffffffu})));
        if (at + lanes <= count) {
            hn::StoreU(result, d, out + at);
        } else {
            HWY_ALIGN uint64_t rest[HWY_MAX_BYTES / sizeof(uint64_t)];
            hn::Store(result, d, rest);
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
