#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/layout_run.h"
#include "trainer/run_config.h"

namespace braid {

/// A layout as the user wrote it.
struct NamedLayout {
    std::string name;
    Layout layout;
    int num_ranks = 1;
};

/// Reads "tensor=2; expert=2,data=2; ...": sizes of axes, 1 where not named, on as many ranks as their
/// product; also sequence=false, zero=0 and micro_batch=N. ConfigError naming what is wrong and what is
/// known.
std::vector<NamedLayout> parse_layouts(std::string_view text);

/// The model with pattern, norms, head ratios and router as they are, and small sizes everywhere.
ModelConfig shrunk(ModelConfig model);

/// What two layouts may differ by in f64 (see LayoutDifference).
constexpr double kVerifyBound = 1e-12;

struct VerifyRequest {
    RunConfig config;
    std::vector<NamedLayout> layouts;
    int64_t steps = 2;
    bool shrink = false;
};

struct VerifyResult {
    std::string name;
    int num_ranks = 1;
    LayoutDifference worst;
    bool passed() const { return worst.error <= kVerifyBound; }
};

/// Compares every layout with one rank, on made data: loss, gradients after all reductions, their norm,
/// updated parameters and router state, of each step from the same state. AdamW's eps is 1e-4, so that the
/// update of a tiny gradient is not a division of noise by noise. Ranks are threads, or, where `world` has
/// several, the first of its processes. Collective over `world`; `report` is called on its first rank.
/// ConfigError where a layout does not fit the model, the world or this machine's memory.
std::vector<VerifyResult> verify_layouts(const VerifyRequest& request, Communicator& world,
                                         const std::function<void(const VerifyResult&)>& report);

} // namespace braid
