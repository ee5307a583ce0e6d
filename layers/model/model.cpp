#include "layers/model/model.h"

#include "layers/model/registry.h"
#include "layers/sublayer/regions.h"
#include "ops/basic/embedding.h"

namespace braid {

Model::Model(const ModelConfig& config, ParameterStore& store) : config_(config) {
    const int64_t before = store.num_elements();
    const std::vector<LayerConfig> layers = expand_layers(config);
    const Shape table = {config.vocab_size, config.hidden_size};
    const Initializer init = matrix_initializer(config.init);

    embedding_unit_ = store.begin_unit("embedding");
    const auto words = [&](const char* name, ParameterRole role) {
        return split_over_tensor(
            {.name = name, .shape = table, .role = role, .fan_in = config.hidden_size, .init = init}, 0);
    };
    embedding_ = store.declare(words("embedding.weight", ParameterRole::embedding));
    if (config.norm.embedding)
        embedding_norm_ = std::make_unique<Norm>(store, config.norm, "embedding_norm", config.hidden_size);

    int num_moe = 0;
    for (size_t i = 0; i < layers.size(); ++i) {
        const int unit = store.begin_unit(fmt::format("layers.{}", i));
        int position = 0;
        for (const ResolvedSublayer& sublayer : layers[i].sublayers) {
            const LayerBuilder build{
                store,    config_, sublayer, static_cast<int>(i), static_cast<int64_t>(layers.size()),
                position, num_moe};
            blocks_.push_back(std::make_unique<Block>(build, make_sublayer(build)));
            block_units_.push_back(unit);
            if (const auto* moe = dynamic_cast<const MoeLayer*>(&blocks_.back()->sublayer()))
                moe_layers_.push_back(moe);
            ++position;
        }
    }

    head_unit_ = store.begin_unit("head");
    if (config.norm.final)
        final_norm_ = std::make_unique<Norm>(store, config.norm, "final_norm", config.hidden_size);
    head_ = config.tie_embeddings ? embedding_ : store.declare(words("head.weight", ParameterRole::head));
    num_parameters_ = store.num_elements() - before;
}

std::vector<LayerSegment> Model::segments(bool recompute) const {
    std::vector<LayerSegment> segments;
    segments.emplace_back("embedding", embedding_unit_, LayerSegment::Policy::keep,
                          [this](LayerContext& ctx, const Values& in) { return embed(ctx, in); });
    for (size_t i = 0; i < blocks_.size(); ++i)
        for (LayerSegment& segment : blocks_[i]->segments(block_units_[i], recompute))
            segments.push_back(std::move(segment));
    segments.emplace_back("head", head_unit_, LayerSegment::Policy::keep,
                          [this](LayerContext& ctx, const Values& in) { return loss(ctx, in); });
    return segments;
}

Values Model::embed(LayerContext& ctx, const Values& in) const {
    Tensor x = from_row_parallel(ctx, ops::embedding(ctx, in[0], embedding_));
    if (embedding_norm_) x = embedding_norm_->forward(ctx, x);
    return {x};
}

Values Model::loss(LayerContext& ctx, const Values& in) const {
    const Tensor& labels = in[1];
    const Tensor h = to_column_parallel(ctx, final_norm_ ? final_norm_->forward(ctx, in[0]) : in[0]);
    const ops::LossOutputs outputs =
        ops::linear_cross_entropy(ctx, h, head_, labels, loss_options(), combine_head_parts(ctx));
    if (Recorder* recorder = ctx.reports(); recorder && reports_for_tensor_ranks(ctx)) {
        recorder->add(&Recorder::cross_entropy, outputs.cross_entropy);
        recorder->add(&Recorder::head_z, outputs.z_loss);
        recorder->add_sequences(ctx.documents, outputs.token_losses, labels);
    }
    return {outputs.cross_entropy, outputs.z_loss};
}

Tensor Model::hidden(LayerContext& ctx, const Tensor& tokens) const {
    Values values = embed(ctx, {tokens});
    for (size_t i = 0; i < blocks_.size(); ++i)
        for (const LayerSegment& segment : blocks_[i]->segments(block_units_[i], false))
            values = segment.forward(ctx, values, nullptr);
    return to_column_parallel(ctx, final_norm_ ? final_norm_->forward(ctx, values[0]) : values[0]);
}

Tensor Model::logits(LayerContext& ctx, const Tensor& hidden) const {
    return ops::logits(ctx, hidden, head_, loss_options());
}

ops::LogitOptions Model::loss_options() const {
    return {.logit_scale = config_.head.scale, .softcap = config_.head.softcap};
}

double Model::forward_flops(const Documents& documents) const {
    double flops = 2 * static_cast<double>(documents.num_tokens() * config_.vocab_size *
                                           config_.hidden_size); // the head
    for (const auto& block : blocks_) flops += block->sublayer().forward_flops(documents);
    return flops;
}

int64_t Model::num_active_parameters() const {
    int64_t count = num_parameters_;
    for (const auto& block : blocks_) count -= block->sublayer().num_idle_parameters();
    return count;
}

} // namespace braid
