#include "layers/feed_forward/moe.h"

#include <algorithm>
#include <cmath>

#include "layers/feed_forward/mlp.h"
#include "layers/feed_forward/routing_trace.h"
#include "layers/sublayer/biases.h"
#include "layers/sublayer/regions.h"
#include "ops/basic/activation.h"
#include "ops/basic/elementwise.h"
#include "ops/basic/linear.h"
#include "ops/moe/expert_fractions.h"
#include "ops/moe/group_bias.h"
#include "ops/moe/grouped_linear.h"
#include "ops/moe/permute.h"
#include "ops/moe/routing.h"
#include "parallel/collectives.h"
#include "parallel/mesh.h"
#include "tensor/host_values.h"
#include "tensor/pieces.h"

namespace braid {
namespace {

/// An expert's tensor, its experts shared out over the expert axis and `dim`, which is `ranges` tensors in a
/// row, over the expert_tensor axis.
ParameterSpec split_experts(ParameterSpec spec, int dim, int64_t ranges) {
    spec.expert = true;
    spec.matrices->row_parts = ranges;
    spec.splits = {{.dim = 0, .axis = Axis::expert, .key = "num_experts"},
                   {.dim = dim, .axis = Axis::expert_tensor, .ranges = ranges, .key = "expert_size"}};
    return spec;
}

Tensor with_group_bias(Context& ctx, const Tensor& x, const Parameter* b, const Tensor& offsets,
                       int64_t first = 0) {
    return b ? ops::add_group_bias(ctx, x, b, offsets, first) : x;
}

} // namespace

MoeLayer::MoeLayer(const LayerBuilder& build, const MoeConfig& config)
    : config_(config),
      dispatcher_(config, build.store.grid(), build.layer, build.sublayer.name),
      site_{build.layer, build.position, build.sublayer.name},
      site_index_(build.num_moe++),
      hidden_size_(build.model.hidden_size) {
    const int64_t experts = config.num_experts, size = config.expert_size, shared = config.shared_size;
    const bool gated = is_gated(config.activation);
    router_ =
        build.store.declare(build.matrix("router.weight", {experts, hidden_size_}, ParameterRole::router));
    expert_input_ = build.store.declare(
        split_experts(build.matrix(gated ? "experts.gate_up.weight" : "experts.up.weight",
                                   {experts, gated ? 2 * size : size, hidden_size_}, ParameterRole::expert),
                      1, gated ? 2 : 1));
    expert_output_ = build.store.declare(split_experts(
        build.output_matrix("experts.down.weight", {experts, hidden_size_, size}, ParameterRole::expert), 2,
        1));
    if (shared > 0) {
        std::vector<ParameterSpec> sections;
        if (gated) sections.push_back(build.matrix("shared.gate.weight", {shared, hidden_size_}));
        sections.push_back(build.matrix("shared.up.weight", {shared, hidden_size_}));
        shared_input_ = build.store.declare(std::move(sections));
        shared_output_ =
            build.store.declare(build.output_matrix("shared.down.weight", {hidden_size_, shared}));
    }
    if (config.shared_gate)
        shared_gate_ = build.store.declare(build.gate("shared_gate.weight", {1, hidden_size_}));
    declare_biases(build);
    if (config.router.bias_update_rate > 0)
        bias_ = build.store.declare_buffer(build.name("router.bias"), {experts}, DType::f32);
    if (config.router.aux_loss > 0 && config.router.aux_scope == AuxScope::global)
        previous_counts_ =
            build.store.declare_buffer(build.name("router.previous_counts"), {experts}, DType::i64);
}

void MoeLayer::declare_biases(const LayerBuilder& build) {
    const int64_t experts = config_.num_experts, size = config_.expert_size;
    const bool gated = is_gated(config_.activation);
    // Not router.bias: so is the selection bias called.
    if (config_.router.bias) router_bias_ = build.store.declare(build.bias("router.linear_bias", {experts}));
    if (has_bias(config_.bias, MoeProjection::experts)) {
        const auto of_experts = [&](const char* part, int64_t width, const Split& columns) {
            ParameterSpec spec = build.bias(part, {experts, width});
            spec.expert = true;
            spec.splits = {{.dim = 0, .axis = Axis::expert, .key = "num_experts"}, columns};
            return spec;
        };
        const int64_t ranges = gated ? 2 : 1;
        expert_input_bias_ = build.store.declare(
            of_experts(gated ? "experts.gate_up.bias" : "experts.up.bias", ranges * size,
                       {.dim = 1, .axis = Axis::expert_tensor, .ranges = ranges, .key = "expert_size"}));
        // The outputs of an expert are sums over the ranks that share it: each adds some columns of the
        // bias, so that each element is added once and has its gradient on one rank.
        expert_output_bias_ = build.store.declare(
            of_experts("experts.down.bias", hidden_size_,
                       {.dim = 1, .axis = Axis::expert_tensor, .key = "model.hidden_size"}));
        first_biased_ = build.store.grid().expert_tensor.index * expert_output_bias_->shape()[1];
    }
    if (has_bias(config_.bias, MoeProjection::shared)) {
        std::vector<ParameterSpec> sections;
        if (gated) sections.push_back(build.bias("shared.gate.bias", {config_.shared_size}));
        sections.push_back(build.bias("shared.up.bias", {config_.shared_size}));
        shared_input_bias_ = build.store.declare(std::move(sections));
        shared_output_bias_ = build.store.declare(build.bias("shared.down.bias", {hidden_size_}));
    }
}

std::vector<Phase> MoeLayer::phases() const {
    // Tokens travel once: recomputation would send them again.
    const bool local = !dispatcher_.is_distributed();
    return {{"route", false, [this](LayerContext& ctx, const Values& in) { return route(ctx, in[0]); }},
            {"dispatch", local, [this](LayerContext& ctx, const Values& in) { return dispatch(ctx, in); }},
            {"experts", true, [this](LayerContext& ctx, const Values& in) { return run_experts(ctx, in); }},
            {"combine", local, [this](LayerContext& ctx, const Values& in) { return combine(ctx, in); }}};
}

double MoeLayer::forward_flops(const Documents& documents) const {
    const auto elements = [](const Parameter* p) {
        return p ? static_cast<double>(p->num_global_elements()) : 0.0;
    };
    const double always =
        elements(router_) + elements(shared_input_) + elements(shared_output_) + elements(shared_gate_);
    const double chosen =
        static_cast<double>(config_.experts_per_token) / static_cast<double>(config_.num_experts);
    return 2 * static_cast<double>(documents.num_tokens()) *
           (always + chosen * (elements(expert_input_) + elements(expert_output_)));
}

int64_t MoeLayer::num_idle_parameters() const {
    int64_t all = 0;
    for (const Parameter* p : {expert_input_, expert_output_, expert_input_bias_, expert_output_bias_})
        if (p) all += p->num_global_elements();
    return (config_.num_experts - config_.experts_per_token) * (all / config_.num_experts);
}

Values MoeLayer::route(LayerContext& ctx, const Tensor& stream) const {
    const Tensor h = scatter_tokens(ctx, stream);
    const Tensor logits =
        with_bias(ctx, ops::linear(ctx, ops::cast(ctx, h, router_->value().dtype()), router_), router_bias_);
    const Shape chosen{logits.dim(0), config_.experts_per_token};
    const Tensor given = ctx.routing ? ctx.routing->given_experts(ctx, site_index_, chosen) : Tensor();
    const ops::Routing routing =
        ops::route(ctx, logits, bias_ ? bias_->value : Tensor(),
                   {.score = config_.router.score == RouterScore::softmax ? ops::RoutingScore::softmax
                                                                          : ops::RoutingScore::sigmoid,
                    .normalize = config_.router.normalize,
                    .scale = config_.router.scale,
                    .k = config_.experts_per_token,
                    .num_groups = config_.router.num_groups,
                    .group_topk = config_.router.group_topk,
                    .group_score = config_.router.group_score == RouterGroupScore::top2_sum
                                       ? ops::RoutingGroupScore::top2_sum
                                       : ops::RoutingGroupScore::max},
                   given);
    if (ctx.routing) ctx.routing->add(ctx, site_index_, routing);
    const Tensor counts = ops::count_experts(ctx, routing.expert, config_.num_experts);
    if (ctx.reports()) ctx.reports()->add_expert_counts(site_index_, counts);
    if (ctx.reports() && ctx.reports()->wants_diagnostics()) record_routing(ctx, routing.probabilities);

    // Losses of the router enter the total here, as seeds on this segment's tape.
    if (ctx.totals && config_.router.aux_loss > 0) {
        double weight = config_.router.aux_loss;
        const Tensor loss = balance_loss(ctx, routing.probabilities, routing.expert, counts, weight);
        if (ctx.tape) ctx.tape->seed(loss, weight);
        if (ctx.reports()) ctx.reports()->add(&Recorder::aux_loss, loss, weight);
    }
    if (ctx.totals && config_.router.z_loss > 0) {
        const double weight = config_.router.z_loss / static_cast<double>(ctx.totals->tokens);
        const Tensor loss = ops::router_z_loss(ctx, logits);
        if (ctx.tape) ctx.tape->seed(loss, weight);
        if (ctx.reports()) ctx.reports()->add(&Recorder::router_z_loss, loss, weight);
    }
    return {h, routing.weight, routing.expert};
}

Tensor MoeLayer::balance_loss(LayerContext& ctx, const Tensor& probabilities, const Tensor& expert,
                              const Tensor& counts, double& weight) const {
    if (config_.router.aux_scope == AuxScope::sequence) {
        weight /= static_cast<double>(ctx.totals->sequences);
        // Sequences may be shared out over the tensor ranks; their counts are integers.
        const Tensor by_sequence = ops::count_experts_by_sequence(ctx, expert, config_.num_experts,
                                                                  *ctx.documents, first_token(ctx));
        if (ctx.mesh) all_reduce_counts(*ctx.allocator, ctx.mesh->axis(Axis::tensor), by_sequence);
        return ops::balance_loss_sequence(ctx, probabilities, by_sequence, config_.experts_per_token,
                                          *ctx.documents, first_token(ctx));
    }
    weight /= static_cast<double>(ctx.totals->tokens);
    Tensor total = previous_counts_ ? previous_counts_->value : counts;
    if (!previous_counts_ && ctx.mesh) {
        total = Tensor::empty(*ctx.allocator, counts.shape(), counts.dtype());
        copy(counts, total);
        all_reduce_counts(*ctx.allocator, ctx.mesh->world(), total);
    }
    const Tensor fractions = ops::expert_fractions(ctx, total);
    return ops::balance_loss_given_fractions(ctx, probabilities, fractions);
}

Values MoeLayer::dispatch(LayerContext& ctx, const Values& in) const {
    Tensor shared;
    const auto dispatched = dispatcher_.dispatch(ctx, in[0], in[1], in[2], [&] {
        if (shared_input_) shared = run_shared_expert(ctx, in[0]);
    });
    Values out = dispatched.pack();
    if (shared_input_) out.insert(out.begin(), shared);
    return out;
}

Tensor MoeLayer::run_shared_expert(Context& ctx, const Tensor& h) const {
    const Tensor in = with_bias(ctx, ops::linear(ctx, h, shared_input_), shared_input_bias_);
    const Tensor y = with_bias(ctx, ops::linear(ctx, activate(ctx, in, config_.activation), shared_output_),
                               shared_output_bias_);
    return shared_gate_ ? ops::sigmoid_gate(ctx, y, ops::linear(ctx, h, shared_gate_)) : y;
}

Values MoeLayer::run_experts(LayerContext& ctx, const Values& in) const {
    const size_t first = shared_input_ ? 1 : 0;
    const auto dispatched = ExpertDispatcher::Dispatched::unpack(in, first);
    Values out(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(first));
    out.push_back(
        run_in_pieces(ctx, {dispatched.rows, dispatched.weight, dispatched.expert}, config_.piece_tokens,
                      [this](Context& ctx, const Values& tokens) { return run_expert_mlps(ctx, tokens); }));
    out.insert(out.end(), dispatched.returns.begin(), dispatched.returns.end());
    return out;
}

Tensor MoeLayer::run_expert_mlps(Context& ctx, const Values& tokens) const {
    // Other ranks' tokens come with choices of experts that are not here.
    const auto choices = dispatcher_.is_distributed() ? ops::Choices::some : ops::Choices::all;
    const ops::ExpertPlan plan = ops::make_expert_plan(ctx, tokens[2], expert_input_->shape()[0], choices);
    const Tensor rows = ops::permute(ctx, tokens[0], plan);
    const Tensor in = with_group_bias(ctx, ops::grouped_linear(ctx, rows, expert_input_, plan.offsets),
                                      expert_input_bias_, plan.offsets);
    const Tensor hidden = activate(ctx, in, config_.activation);
    const Tensor outputs =
        with_group_bias(ctx, ops::grouped_linear(ctx, hidden, expert_output_, plan.offsets),
                        expert_output_bias_, plan.offsets, first_biased_);
    return ops::combine(ctx, outputs, tokens[1], plan);
}

Values MoeLayer::combine(LayerContext& ctx, const Values& in) const {
    const auto rows = in.begin() + (shared_input_ ? 1 : 0);
    Tensor y = dispatcher_.combine(ctx, *rows, Values(rows + 1, in.end()));
    if (shared_input_) y = ops::add(ctx, y, in[0]);
    return {gather_tokens(ctx, y)};
}

void MoeLayer::record_routing(LayerContext& ctx, const Tensor& probabilities) const {
    double entropy = 0;
    const int64_t tokens = probabilities.dim(0), experts = config_.num_experts;
    dispatch_float(probabilities.dtype(), [&]<typename T>() {
        const std::vector<T> all = host_values<T>(probabilities);
        for (int64_t t = 0; t < tokens; ++t) {
            const T* p = all.data() + t * experts;
            double sum = 0, weighted = 0; // sigmoid scores are normalised first
            for (int64_t e = 0; e < experts; ++e) {
                sum += static_cast<double>(p[e]);
                if (p[e] > 0) weighted += static_cast<double>(p[e]) * std::log(static_cast<double>(p[e]));
            }
            if (sum > 0) entropy += std::log(sum) - weighted / sum;
        }
    });
    ctx.reports()->mean(site_, "router_entropy", entropy, static_cast<double>(tokens));
}

void MoeLayer::finish_step(const Tensor& counts) const {
    if (bias_) ops::update_router_bias(bias_->value, counts, config_.router.bias_update_rate);
    if (!previous_counts_) return;
    copy(counts, previous_counts_->value);
}

} // namespace braid
