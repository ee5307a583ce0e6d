// Every registered type of sublayer, by its examples: in every layout that its sizes allow, and in bf16.

#include "layers/specification/sublayer_type.h"

#include <gtest/gtest.h>

#include <cmath>

#include "layers/specification/layout_check.h"
#include "tests/support/sanitized.h"
#include "tests/support/sublayer_examples.h"
#include "tests/trainer/parity_case.h"

namespace braid::testing {
namespace {

class every_layout : public ::testing::TestWithParam<SublayerExample> {};

LayoutCase case_of(const AnyStruct& config) {
    LayoutCase run{.model = model_of(config), .seed = 11, .global_batch = 3, .sequence_length = 20};
    run.optimizer.lr = 1e-2;
    run.optimizer.eps = 1e-4; // so that the update of a tiny gradient is not a division of noise by noise
    run.optimizer.clip = 0.5;
    return run;
}

/// All sizes of axes on so many ranks that fit.
std::vector<ParallelConfig> sizes_that_fit(const ModelConfig& model, int ranks) {
    const LayoutRules rules(model);
    std::vector<ParallelConfig> found;
    for (int tensor = 1; tensor <= ranks; ++tensor)
        for (int expert = 1; expert <= ranks; ++expert)
            for (int expert_tensor = 1; expert * expert_tensor <= ranks; ++expert_tensor) {
                if (ranks % tensor != 0 || ranks % (expert * expert_tensor) != 0) continue;
                const ParallelConfig sizes{
                    .tensor = tensor, .expert = expert, .expert_tensor = expert_tensor};
                if (rules.faults(make_grid(sizes, ranks, 0)).empty()) found.push_back(sizes);
            }
    return found;
}

TEST_P(every_layout, compute_what_one_rank_computes) {
    const LayoutCase run = case_of(GetParam().config);
    const auto reference = alone(run);
    int num_layouts = 0;
    for (const int ranks : {2, 3, 4}) {
        if (test::kSanitized && ranks == 4) continue;
        for (ParallelConfig sizes : sizes_that_fit(run.model, ranks)) {
            // What an axis need not be tried with all of takes turns.
            sizes.sequence = num_layouts % 2 == 0;
            sizes.zero = num_layouts % 3 != 0;
            expect_parity(
                run, reference, ranks,
                {.parallel = sizes, .micro_batch = 1 + num_layouts % 2, .recompute = num_layouts % 3 == 1});
            ++num_layouts;
        }
    }
    EXPECT_GE(num_layouts, 2);
}

// From embedding to logits some dozen tensors are rounded, each by 2^-8 of its numbers, which are near one,
// as logits are: these are off by a dozen times that at most, and a loss by twice as much as a logit.
TEST_P(every_layout, bf16_is_near_f32) {
    LayoutCase run = case_of(GetParam().config);
    run.steps = 1;
    run.precision = DType::f32;
    const double exact = on_ranks(run, 1, {.micro_batch = 3})[0].loss;
    run.precision = DType::bf16;
    for (const int ranks : {1, 2}) {
        const LayoutStep step = on_ranks(run, ranks, {.micro_batch = 2})[0];
        EXPECT_NE(step.loss, exact) << "nothing was rounded";
        EXPECT_NEAR(step.loss, exact, 24 * 0x1p-8);
        EXPECT_TRUE(std::isfinite(step.grad_norm));
    }
}

INSTANTIATE_TEST_SUITE_P(sublayer_types, every_layout, ::testing::ValuesIn(sublayer_examples()),
                         [](const auto& info) { return info.param.name; });

} // namespace
} // namespace braid::testing
