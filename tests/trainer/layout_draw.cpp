#include "tests/trainer/layout_draw.h"

#include <fmt/core.h>

#include <cstdlib>

#include "base/error.h"
#include "base/rng.h"
#include "layers/feed_forward/mlp_config.h"
#include "layers/feed_forward/moe_config.h"
#include "layers/mixers/attention_config.h"
#include "layers/mixers/gated_delta_net_config.h"
#include "layers/specification/layout_check.h"

namespace braid::testing {
namespace {

/// Draws from lists, one after the other.
class Draw {
  public:
    explicit Draw(uint64_t seed) : stream_(seed, RngPurpose::test, "layout") {}
    template <typename T>
    T of(std::initializer_list<T> values) {
        return values.begin()[stream_.bits(next_++) % values.size()];
    }
    bool coin() { return of({false, true}); }

  private:
    RngStream stream_;
    uint64_t next_ = 0;
};

AttentionConfig draw_attention(Draw& draw) {
    return {.num_heads = draw.of<int64_t>({4, 8, 6}),
            .num_kv_heads = draw.of<int64_t>({1, 2}),
            .head_dim = draw.of<int64_t>({4, 8}),
            .qk_norm = draw.of({QkNorm::none, QkNorm::per_head, QkNorm::full}),
            .gate = draw.of({AttentionGate::none, AttentionGate::head, AttentionGate::elementwise}),
            .rope = {.theta = 100, .fraction = draw.of({0.0, 0.5, 1.0})},
            .window = draw.of<int64_t>({0, 3})};
}

MoeConfig draw_moe(Draw& draw) {
    MoeConfig moe{.num_experts = draw.of<int64_t>({4, 6, 8, 12}),
                  .experts_per_token = draw.of<int64_t>({1, 2, 3}),
                  .expert_size = draw.of<int64_t>({4, 6}),
                  .shared_size = draw.of<int64_t>({0, 5})};
    moe.shared_gate = moe.shared_size > 0 && draw.coin();
    moe.activation = draw.of({Activation::swiglu, Activation::relu2});
    moe.router.score = draw.of({RouterScore::softmax, RouterScore::sigmoid});
    moe.router.normalize = draw.coin();
    moe.router.scale = draw.of({1.0, 2.5});
    moe.router.aux_loss = draw.of({0.0, 0.05});
    moe.router.aux_scope = draw.of({AuxScope::sequence, AuxScope::global});
    moe.router.z_loss = draw.of({0.0, 0.01});
    moe.router.bias_update_rate = draw.of({0.0, 1e-3});
    return moe;
}

/// Groups of two experts or more, as few of them for a token as have its experts.
void draw_groups(Draw& draw, MoeConfig& moe) {
    RouterConfig& router = moe.router;
    router.num_groups = draw.of<int64_t>({1, 2, moe.num_experts / 2});
    router.group_score = draw.of({RouterGroupScore::top2_sum, RouterGroupScore::max});
    const int64_t size = moe.num_experts / router.num_groups;
    router.group_topk = (moe.experts_per_token + size - 1) / size;
}

LayoutCase draw_case(Draw& draw, uint64_t seed) {
    LayoutCase run{.seed = seed};
    ModelConfig& model = run.model;
    model.vocab_size = draw.of<int64_t>({11, 16, 29});
    model.hidden_size = draw.of<int64_t>({6, 8, 12});
    model.pattern = draw.of<const char*>({"gdn+moe, attn+moe", "attn+dense", "gdn+dense, attn, moe",
                                          "(gdn+moe)*2", "moe, dense, attn", "attn+moe+gdn"});
    model.tie_embeddings = draw.coin();
    model.norm.type = draw.of({NormType::rms, NormType::rms, NormType::layer});
    model.norm.placement = draw.of({NormPlacement::pre, NormPlacement::post, NormPlacement::sandwich,
                                    NormPlacement::residual_post, NormPlacement::none});
    model.norm.zero_centered = model.norm.type == NormType::rms && draw.coin();
    model.norm.embedding = draw.coin();
    model.init.std = 0.2;
    model.head.z_loss = draw.of({0.0, 0.01});
    model.sublayers["gdn"].kind = GatedDeltaNetConfig{.num_key_heads = draw.of<int64_t>({2, 4}),
                                                      .num_value_heads = draw.of<int64_t>({4, 8}),
                                                      .key_head_dim = 4,
                                                      .value_head_dim = draw.of<int64_t>({4, 6})};
    model.sublayers["attn"].kind = draw_attention(draw);
    model.sublayers["moe"].kind = draw_moe(draw);
    model.sublayers["dense"].kind = MlpConfig{.size = draw.of<int64_t>({8, 12})};
    run.global_batch = draw.of<int64_t>({1, 2, 3, 5});
    // Not much shorter: gradients of q and k are then next to nothing, and rounding is most of them.
    run.sequence_length = draw.of<int64_t>({5, 9, 20});
    run.optimizer.lr = 1e-2;
    run.optimizer.eps = 1e-4;
    run.optimizer.clip = draw.of({0.0, 0.3});
    run.optimizer.type = draw.of({OptimizerType::adamw, OptimizerType::muon});
    run.optimizer.muon.nesterov = draw.coin();
    run.optimizer.muon.split_heads = draw.coin();
    run.optimizer.muon.coefficients = draw.of({MuonCoefficients::quintic, MuonCoefficients::polar_express});
    run.optimizer.muon.scale = draw.of({MuonScale::match_rms, MuonScale::original, MuonScale::spectral});
    return run;
}

/// Draws until a layout fits the model.
void draw_fitting_layout(Draw& draw, int num_ranks, LayoutDraw& result) {
    while (true) {
        const int drawn = draw.of({2, 3, 4, 6, 8});
        result.num_ranks = num_ranks > 0 ? num_ranks : drawn;
        result.layout = {.parallel = {.tensor = draw.of({1, 2, 4}),
                                      .expert = draw.of({1, 2, 3, 4}),
                                      .expert_tensor = draw.of({1, 1, 2}),
                                      .sequence = draw.coin(),
                                      .zero = draw.coin()},
                         .micro_batch = draw.of<int64_t>({1, 2, 3}),
                         .recompute = draw.coin()};
        try {
            LayoutRules(result.run.model).expect_fits(make_grid(result.layout.parallel, result.num_ranks, 0));
            return;
        } catch (const ConfigError&) {
        }
    }
}

} // namespace

LayoutDraw draw_layout(uint64_t seed, int num_ranks) {
    Draw draw(seed);
    LayoutDraw result{.seed = seed, .run = draw_case(draw, seed)};
    draw_fitting_layout(draw, num_ranks, result);
    result.laid_out = in_pieces(result.run, draw.of<int64_t>({0, 0, 1, 3, 8, 30}));
    auto& moe = result.laid_out.model.sublayers.at("moe").kind.get<MoeConfig>();
    moe.receive_tokens = draw.of<int64_t>({0, 1000}); // never reached; all ranks learn all counts
    const std::vector<std::string> frozen[] = {
        {}, {}, {"embedding.*", "layers.0.*"}, {"*.moe.*"}, {"*norm*"}};
    result.run.freeze = result.laid_out.freeze = frozen[draw.of({0, 1, 2, 3, 4})];
    result.layout.parallel.reduction = draw.of({Reduction::ordered, Reduction::library});
    draw_groups(draw, moe);
    result.run.model.sublayers.at("moe").kind.get<MoeConfig>().router = moe.router;
    return result;
}

std::string describe(const LayoutDraw& draw) {
    const LayoutCase& run = draw.run;
    const auto& moe = draw.laid_out.model.sublayers.at("moe").kind.get<MoeConfig>();
    const ParallelConfig& sizes = draw.layout.parallel;
    return fmt::format(
        "BRAID_LAYOUT_SEED={}: {} ranks, tensor {}, sequence {}, expert {}, expert_tensor {}, ZeRO {}, "
        "micro-batch {}, recompute {}, reduction {}, pieces of {}, receive_tokens {}, {} of {} groups; {}, "
        "{} sequences of "
        "{}, "
        "{}{}",
        draw.seed, draw.num_ranks, sizes.tensor, sizes.sequence, sizes.expert, sizes.expert_tensor,
        sizes.zero, draw.layout.micro_batch, draw.layout.recompute, to_string(sizes.reduction),
        moe.piece_tokens, moe.receive_tokens, moe.router.group_topk, moe.router.num_groups, run.model.pattern,
        run.global_batch, run.sequence_length, to_string(run.optimizer.type),
        run.optimizer.muon.split_heads ? " by head" : "");
}

std::vector<uint64_t> layout_seeds(uint64_t first, uint64_t count) {
    if (const char* seed = std::getenv("BRAID_LAYOUT_SEED")) return {std::strtoull(seed, nullptr, 10)};
    std::vector<uint64_t> seeds;
    for (uint64_t i = 0; i < count; ++i) seeds.push_back(first + i);
    return seeds;
}

} // namespace braid::testing
