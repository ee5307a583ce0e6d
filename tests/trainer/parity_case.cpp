#include "tests/trainer/parity_case.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/glob.h"
#include "layers/feed_forward/mlp_config.h"
#include "layers/mixers/attention_config.h"
#include "layers/mixers/gated_delta_net_config.h"
#include "parallel/thread_comm.h"

namespace braid::testing {

ModelConfig parity_model(AuxScope scope, bool tied) {
    ModelConfig model;
    model.vocab_size = 13;
    model.hidden_size = 8;
    model.pattern = "gdn+moe, attn+moe, attn+dense";
    model.tie_embeddings = tied;
    model.norm.zero_centered = true;
    model.init.std = 0.3;
    model.head.z_loss = 1e-2;
    AttentionConfig attention{.num_heads = 4,
                              .num_kv_heads = 2,
                              .head_dim = 4,
                              .qk_norm = QkNorm::per_head,
                              .gate = AttentionGate::elementwise};
    MoeConfig moe{
        .num_experts = 6, .experts_per_token = 2, .expert_size = 5, .shared_size = 4, .shared_gate = true};
    moe.router.aux_loss = 0.05;
    moe.router.aux_scope = scope;
    moe.router.z_loss = 1e-2;
    moe.router.bias_update_rate = 1e-3;
    model.sublayers["gdn"].kind =
        GatedDeltaNetConfig{.num_key_heads = 2, .num_value_heads = 4, .key_head_dim = 4, .value_head_dim = 4};
    model.sublayers["attn"].kind = attention;
    model.sublayers["moe"].kind = moe;
    model.sublayers["dense"].kind = MlpConfig{.size = 10};
    return model;
}

LayoutCase parity_case(AuxScope scope, bool tied) {
    LayoutCase run{.model = parity_model(scope, tied), .seed = 11, .global_batch = 6, .sequence_length = 24};
    run.optimizer.lr = 1e-2;
    run.optimizer.eps = 1e-4; // so that the update of a tiny gradient is not a division of noise by noise
    run.optimizer.clip = 0.5;
    return run;
}

namespace {

bool any_not_zero(const std::vector<double>& values) {
    return std::any_of(values.begin(), values.end(), [](double value) { return value != 0; });
}

} // namespace

std::vector<LayoutStep> on_ranks(const LayoutCase& run, int ranks, const Layout& layout,
                                 const std::vector<LayoutStep>* reference) {
    std::vector<LayoutStep> result;
    run_thread_ranks(ranks, [&](Communicator& comm) {
        auto steps = run_layout(run, layout, comm, reference);
        if (comm.rank() == 0) result = std::move(steps);
    });
    return result;
}

std::vector<LayoutStep> alone(const LayoutCase& run) {
    auto steps = on_ranks(run, 1, {.micro_batch = run.global_batch});
    const auto is_frozen = [&](const std::string& name) {
        return std::any_of(run.freeze.begin(), run.freeze.end(),
                           [&](const std::string& glob) { return matches_glob(glob, name); });
    };
    for (const LayoutStep& step : steps) {
        EXPECT_GT(step.loss, 0);
        for (const auto* tensors : {&step.gradients, &step.updates})
            for (const auto& [name, values] : *tensors)
                EXPECT_TRUE(is_frozen(name.substr(name.find('/') + 1)) || any_not_zero(values)) << name;
        for (const auto& [name, values] : step.buffers) EXPECT_TRUE(any_not_zero(values)) << name;
    }
    return steps;
}

void expect_parity(const LayoutCase& run, const std::vector<LayoutStep>& reference, int ranks,
                   const Layout& layout) {
    const LayoutDifference worst = compare(on_ranks(run, ranks, layout, &reference), reference);
    EXPECT_LE(worst.error, kParityBound)
        << worst.where << " on " << ranks << " ranks, tensor " << layout.parallel.tensor << ", sequence "
        << layout.parallel.sequence << ", expert " << layout.parallel.expert << ", expert_tensor "
        << layout.parallel.expert_tensor << ", ZeRO " << layout.parallel.zero << ", micro-batch "
        << layout.micro_batch;
}

} // namespace braid::testing
