#pragma once

#include "layers/feed_forward/expert_dispatcher.h"
#include "layers/feed_forward/moe_config.h"
#include "layers/sublayer/layer.h"
#include "layers/sublayer/recorder.h"

namespace braid {

/// A mixture of experts without token dropping: each token goes to k of E experts (Shazeer et al., 2017),
/// sorted by expert, so that one grouped GEMM serves all; plus an optional shared expert with an optional
/// sigmoid gate (Qwen3-Next). A rank that gets more tokens than config.piece_tokens takes them in pieces of
/// as many whole tokens, in the order they came, each with all of its experts here. Balanced by a loss
/// (Switch Transformer, eq. 4, with the scopes of RouterConfig), by a selection bias moved with the sign of
/// the load (DeepSeek-V3, "auxiliary-loss-free", arXiv:2408.15664), or both. The choice may be limited to a
/// token's best groups of experts (DeepSeek-V3, arXiv:2412.19437, section 2.1.2).
class MoeLayer : public Sublayer {
  public:
    MoeLayer(const LayerBuilder& build, const MoeConfig& config);

    std::vector<Phase> phases() const override;
    double forward_flops(const Documents& documents) const override;
    int64_t num_idle_parameters() const override;

    /// Numbers the MoE layers of the model; it finds this layer's counts in the Recorder.
    int moe_index() const { return site_index_; }
    const MoeConfig& config() const { return config_; }
    const DiagnosticSite& site() const { return site_; }

    /// After the last micro-batch of a step: moves the selection bias and keeps the counts that the next
    /// step's balancing loss uses. counts i64 [E] are those of the whole global batch.
    void finish_step(const Tensor& counts) const;

  private:
    // What travels between the phases: {h, weight, expert} from the router, then {shared expert's output if
    // there is one, what ExpertDispatcher packs}.
    Values route(LayerContext& ctx, const Tensor& stream) const;
    Values dispatch(LayerContext& ctx, const Values& in) const;
    Values run_experts(LayerContext& ctx, const Values& in) const;
    Values combine(LayerContext& ctx, const Values& in) const;

    void declare_biases(const LayerBuilder& build);
    Tensor run_shared_expert(Context& ctx, const Tensor& h) const;
    // y [N, D], the weighted sums over this rank's experts for {rows [N, D], weight [N, k], expert [N, k]}.
    Tensor run_expert_mlps(Context& ctx, const Values& tokens) const;
    Tensor balance_loss(LayerContext& ctx, const Tensor& probabilities, const Tensor& expert,
                        const Tensor& counts, double& weight) const;
    void record_routing(LayerContext& ctx, const Tensor& probabilities) const;

    MoeConfig config_;
    ExpertDispatcher dispatcher_;
    DiagnosticSite site_;
    int site_index_;
    int64_t hidden_size_;
    const Parameter* router_;
    const Parameter* expert_input_;  // [E, 2 I, D] gate rows first, or [E, I, D], of this rank's experts
    const Parameter* expert_output_; // [E, D, I]
    const Parameter* shared_input_ = nullptr;
    const Parameter* shared_output_ = nullptr;
    const Parameter* shared_gate_ = nullptr;
    const Parameter* router_bias_ = nullptr;        // [E]
    const Parameter* expert_input_bias_ = nullptr;  // [E, 2 I] or [E, I], of this rank's experts
    const Parameter* expert_output_bias_ = nullptr; // [E, D], or the columns from first_biased_ on
    const Parameter* shared_input_bias_ = nullptr;
    const Parameter* shared_output_bias_ = nullptr;
    int64_t first_biased_ = 0;
    Buffer* bias_ = nullptr;            // [E], added to scores for the choice only
    Buffer* previous_counts_ = nullptr; // i64 [E], of the whole step before
};

} // namespace braid
