#include "layers/moe.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "layers/mlp.h"
#include "ops/activation.h"
#include "ops/elementwise.h"
#include "ops/grouped_linear.h"
#include "ops/linear.h"
#include "ops/permute.h"
#include "ops/routing.h"
#include "parallel/collectives.h"

namespace braid {
namespace {

/// The plan as it travels from route to the later stages.
ops::ExpertPlan plan_of(const Values& values) {
    return {.order = values[2], .row_of_slot = values[3], .offsets = values[4], .k = values[1].dim(1)};
}

} // namespace

MoeLayer::MoeLayer(const LayerBuilder& build, const MoeConfig& config, int position, int moe_index)
    : config_(config),
      site_{build.layer, position, build.sublayer.name},
      site_index_(moe_index),
      hidden_size_(build.model.hidden_size) {
    const int64_t experts = config.num_experts, size = config.expert_size, shared = config.shared_size;
    const bool gated = is_gated(config.activation);
    router_ =
        build.store.declare(build.matrix("router.weight", {experts, hidden_size_}, ParameterRole::router));
    expert_input_ = build.store.declare(build.matrix(gated ? "experts.gate_up.weight" : "experts.up.weight",
                                                     {experts, gated ? 2 * size : size, hidden_size_},
                                                     ParameterRole::expert));
    expert_output_ = build.store.declare(
        build.output_matrix("experts.down.weight", {experts, hidden_size_, size}, ParameterRole::expert));
    if (shared > 0) {
        std::vector<ParameterSpec> sections;
        if (gated) sections.push_back(build.matrix("shared.gate.weight", {shared, hidden_size_}));
        sections.push_back(build.matrix("shared.up.weight", {shared, hidden_size_}));
        shared_input_ = build.store.declare(std::move(sections));
        shared_output_ =
            build.store.declare(build.output_matrix("shared.down.weight", {hidden_size_, shared}));
    }
    if (config.shared_gate)
        shared_gate_ = build.store.declare(build.matrix("shared_gate.weight", {1, hidden_size_}));
    if (config.router.bias_update_rate > 0)
        bias_ = build.store.declare_buffer(build.name("router.bias"), {experts}, DType::f32);
    if (config.router.aux_loss > 0 && config.router.aux_scope == AuxScope::global)
        previous_counts_ =
            build.store.declare_buffer(build.name("router.previous_counts"), {experts}, DType::i64);
}

std::vector<Stage> MoeLayer::stages() const {
    return {{"route", false, [this](Context& ctx, const Values& in) { return route(ctx, in[0]); }},
            {"dispatch", true, [this](Context& ctx, const Values& in) { return dispatch(ctx, in); }},
            {"experts", true, [this](Context& ctx, const Values& in) { return run_experts(ctx, in); }},
            {"combine", true, [this](Context& ctx, const Values& in) { return combine(ctx, in); }}};
}

double MoeLayer::forward_flops(const Documents& documents) const {
    const auto elements = [](const Parameter* p) {
        return p ? static_cast<double>(p->shape().numel()) : 0.0;
    };
    const double always =
        elements(router_) + elements(shared_input_) + elements(shared_output_) + elements(shared_gate_);
    const double chosen =
        static_cast<double>(config_.experts_per_token) / static_cast<double>(config_.num_experts);
    return 2 * static_cast<double>(documents.num_tokens()) *
           (always + chosen * (elements(expert_input_) + elements(expert_output_)));
}

int64_t MoeLayer::num_idle_parameters() const {
    const int64_t one_expert =
        (expert_input_->shape().numel() + expert_output_->shape().numel()) / config_.num_experts;
    return (config_.num_experts - config_.experts_per_token) * one_expert;
}

Values MoeLayer::route(Context& ctx, const Tensor& h) const {
    const Tensor logits = ops::linear(ctx, h, router_);
    const ops::Routing routing =
        ops::route(ctx, logits, bias_ ? bias_->value : Tensor(),
                   {.score = config_.router.score == RouterScore::softmax ? ops::RoutingScore::softmax
                                                                          : ops::RoutingScore::sigmoid,
                    .normalize = config_.router.normalize,
                    .scale = config_.router.scale,
                    .k = config_.experts_per_token});
    const Tensor counts = ops::count_experts(ctx, routing.expert, config_.num_experts);
    if (ctx.recorder) ctx.recorder->add_expert_counts(site_index_, counts);
    if (ctx.recorder && ctx.recorder->wants_diagnostics()) record_routing(ctx, routing.probabilities);

    // Losses of the router enter the total here, as seeds on this segment's tape.
    if (ctx.totals && config_.router.aux_loss > 0) {
        double weight = config_.router.aux_loss;
        const Tensor loss = balance_loss(ctx, routing.probabilities, routing.expert, counts, weight);
        if (ctx.tape) ctx.tape->seed(loss, weight);
        if (ctx.recorder) ctx.recorder->aux_loss += weight * *loss.data<double>();
    }
    if (ctx.totals && config_.router.z_loss > 0) {
        const double weight = config_.router.z_loss / static_cast<double>(ctx.totals->tokens);
        const Tensor loss = ops::router_z_loss(ctx, logits);
        if (ctx.tape) ctx.tape->seed(loss, weight);
        if (ctx.recorder) ctx.recorder->router_z_loss += weight * *loss.data<double>();
    }
    const ops::ExpertPlan plan = ops::make_expert_plan(ctx, routing.expert, config_.num_experts);
    return {h, routing.weight, plan.order, plan.row_of_slot, plan.offsets};
}

Tensor MoeLayer::balance_loss(Context& ctx, const Tensor& probabilities, const Tensor& expert,
                              const Tensor& counts, double& weight) const {
    if (config_.router.aux_scope == AuxScope::sequence) {
        weight /= static_cast<double>(ctx.totals->sequences);
        return ops::balance_loss_sequence(ctx, probabilities, expert, ctx.documents);
    }
    weight /= static_cast<double>(ctx.totals->tokens);
    std::vector<int64_t> total(static_cast<size_t>(config_.num_experts));
    const auto source = previous_counts_ ? previous_counts_->value.span<int64_t>() : counts.span<int64_t>();
    std::copy(source.begin(), source.end(), total.begin());
    if (!previous_counts_ && ctx.data_group) all_reduce_sum(*ctx.data_group, std::span(total));
    const auto sum = static_cast<double>(std::accumulate(total.begin(), total.end(), int64_t{0}));
    Tensor fractions = Tensor::empty(*ctx.allocator, {config_.num_experts}, DType::f64);
    for (size_t e = 0; e < total.size(); ++e) // before the first step all experts count as equally loaded
        fractions.data<double>()[e] =
            sum > 0 ? static_cast<double>(total[e]) / sum : 1 / static_cast<double>(config_.num_experts);
    return ops::balance_loss_given_fractions(ctx, probabilities, fractions);
}

Values MoeLayer::dispatch(Context& ctx, const Values& in) const {
    Values out = in;
    out.push_back(ops::permute(ctx, in[0], plan_of(in)));
    return out;
}

Values MoeLayer::run_experts(Context& ctx, const Values& in) const {
    const Tensor hidden =
        activate(ctx, ops::grouped_linear(ctx, in[5], expert_input_, in[4]), config_.activation);
    Values out = in;
    out[5] = ops::grouped_linear(ctx, hidden, expert_output_, in[4]);
    return out;
}

Values MoeLayer::combine(Context& ctx, const Values& in) const {
    const Tensor& h = in[0];
    Tensor y = ops::combine(ctx, in[5], in[1], plan_of(in));
    if (shared_input_) {
        Tensor shared = ops::linear(
            ctx, activate(ctx, ops::linear(ctx, h, shared_input_), config_.activation), shared_output_);
        if (shared_gate_) shared = ops::sigmoid_gate(ctx, shared, ops::linear(ctx, h, shared_gate_));
        y = ops::add(ctx, y, shared);
    }
    return {y};
}

void MoeLayer::record_routing(Context& ctx, const Tensor& probabilities) const {
    double entropy = 0;
    const int64_t tokens = probabilities.dim(0), experts = config_.num_experts;
    dispatch_float(probabilities.dtype(), [&]<typename T>() {
        for (int64_t t = 0; t < tokens; ++t) {
            const T* p = probabilities.data<T>() + t * probabilities.row_stride();
            double sum = 0, weighted = 0; // sigmoid scores are normalised first
            for (int64_t e = 0; e < experts; ++e) {
                sum += static_cast<double>(p[e]);
                if (p[e] > 0) weighted += static_cast<double>(p[e]) * std::log(static_cast<double>(p[e]));
            }
            if (sum > 0) entropy += std::log(sum) - weighted / sum;
        }
    });
    ctx.recorder->mean(site_, "router_entropy", entropy, static_cast<double>(tokens));
}

void MoeLayer::finish_step(const Tensor& counts) const {
    if (bias_) ops::update_router_bias(bias_->value, counts, config_.router.bias_update_rate);
    if (!previous_counts_) return;
    const auto source = counts.span<int64_t>();
    std::copy(source.begin(), source.end(), previous_counts_->value.span<int64_t>().begin());
}

} // namespace braid
