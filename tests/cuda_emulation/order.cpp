#include "tests/cuda_emulation/order.h"

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string_view>
#include <utility>

namespace cuda_emulation {

Order::Order() {
    const char* const given = std::getenv("BRAID_EMULATION_ORDER");
    const std::string_view value = given ? given : "ascending";
    constexpr std::string_view kSeeded = "random:";
    if (value == "ascending") return;
    bool known = value == "reverse" || value == "random";
    kind_ = value == "reverse" ? Kind::reverse : Kind::random;
    if (value == "random") seed_ = std::random_device()();
    if (value.substr(0, kSeeded.size()) == kSeeded) {
        const char* const last = value.data() + value.size();
        const auto [end, error] = std::from_chars(value.data() + kSeeded.size(), last, seed_);
        known = error == std::errc() && end == last;
    }
    if (!known) {
        std::fprintf(stderr,
                     "BRAID_EMULATION_ORDER: expected ascending, reverse, random or random:SEED, found %s\n",
                     given);
        std::_Exit(2);
    }
    name_ = kind_ == Kind::reverse ? "reverse" : "random:" + std::to_string(seed_);
    // Also for failures that a test finds in the results.
    std::fprintf(stderr, "CUDA emulation: BRAID_EMULATION_ORDER=%s\n", name_.c_str());
}

const Order& Order::chosen() {
    static const Order one;
    return one;
}

void Order::arrange(std::vector<size_t>& turns, size_t count) const {
    const bool stays = turns.size() == count;
    if (!stays) {
        turns.resize(count);
        std::iota(turns.begin(), turns.end(), size_t{0});
        if (kind_ == Kind::reverse)
            for (size_t i = 0; i < count; ++i) turns[i] = count - 1 - i;
    }
    if (kind_ != Kind::random) return;
    static thread_local std::mt19937_64 draws(seed_);
    for (size_t i = count; i > 1; --i) std::swap(turns[i - 1], turns[draws() % i]);
}

} // namespace cuda_emulation
