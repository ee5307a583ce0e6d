#pragma once

#include <string>

#include "trainer/verify/layout_compare.h"

namespace braid::testing {

/// A random model, batch and layout, a function of a seed (and of num_ranks, where that is given).
struct LayoutDraw {
    uint64_t seed = 0;
    LayoutCase run;      // on one rank
    LayoutCase laid_out; // the same in pieces, as ranks run it
    Layout layout;
    int num_ranks = 0;
};

/// On num_ranks ranks; 0 draws 2 to 8.
LayoutDraw draw_layout(uint64_t seed, int num_ranks = 0);
/// The draw in words, its seed first.
std::string describe(const LayoutDraw& draw);

/// The seeds first, first + 1, …, `count` of them; or the one in the environment's BRAID_LAYOUT_SEED.
std::vector<uint64_t> layout_seeds(uint64_t first, uint64_t count);

} // namespace braid::testing
