#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/config/run_config.h"
#include "trainer/verify/layout_compare.h"

namespace braid {

/// Reads "tensor=2; expert=2,data=2; ...": keys of `parallel` as in a run file, on as many ranks as the sizes
/// of the axes make, and micro_batch=N. ConfigError naming what is wrong and what is known.
std::vector<Layout> parse_layouts(std::string_view text);

/// The model with pattern, norms, head ratios and router as they are, and small sizes everywhere.
ModelConfig shrunk(ModelConfig model);

struct VerifyRequest {
    RunConfig config;
    std::vector<Layout> layouts;
    int64_t steps = 2;
    DType precision = DType::f64; // or f32
    Stream compute = Stream();    // on a GPU, each rank is a process with its own, which `world` knows of
    bool shrink = false;
};

/// What layouts are compared with: one rank in f64.
struct VerifyReference {
    DType precision = DType::f64;
    double bound = kParityBound;
    double reported_eps = 0; // of the run file; see LayoutDifference
    // In f32 only: the error of one rank against f64, and the number of terms in the longest sum of a step.
    LayoutDifference one_rank;
    int64_t longest_sum = 0;
};

struct VerifyResult {
    std::string name;
    int num_ranks = 1;
    LayoutDifference worst;
    double bound = kParityBound;
    int64_t num_choices = 0, num_flips = 0; // in f32; see RoutingTrace
    bool passed() const { return worst.error <= bound; }
};

/// Called on the first rank only: once, then with each result.
struct VerifyReport {
    std::function<void(const VerifyReference&)> reference;
    std::function<void(const VerifyResult&)> result;
};

/// Compares every layout with one rank, on made data: loss, gradients after all reductions, their norm,
/// updated parameters and router state, of each step from the same state. AdamW's eps is 1e-4, so that the
/// update of a tiny gradient is not a division of noise by noise; with the run file's eps updates are
/// compared too, and reported only. Ranks are threads, or, where `world` has several, the first of its
/// processes. Collective over `world`.
///
/// In f32 all runs start each step from the state, and send tokens to the experts, of a run on one rank in
/// f32, and are compared with a run on one rank in f64 that does the same. The bound is the error of one rank
/// in f32 (the larger of its runs with the whole batch at once and with one sequence at once) times the
/// square root of n, the number of terms in the longest sum: rounding errors of a sum of n terms grow with
/// sqrt(n) as a rule and with n at most, whatever the order (Higham, Accuracy and Stability of Numerical
/// Algorithms, 4.2; Higham and Mary 2019, doi:10.1137/18M1226312).
///
/// ConfigError where a layout does not fit the model, the world or this machine's memory.
std::vector<VerifyResult> verify_layouts(const VerifyRequest& request, Communicator& world,
                                         const VerifyReport& report);

} // namespace braid
