#pragma once

#include <memory>
#include <vector>

#include "layers/feed_forward/moe.h"
#include "layers/model/block.h"
#include "ops/loss/cross_entropy.h"

namespace braid {

/// A language model: embedding, the blocks of its layers, final norm and head. Construction declares the
/// parameters in the store (unit 0 the embedding, then one unit a layer, then the head) and takes no memory,
/// so that shapes and counts can be reported for any size.
class Model {
  public:
    Model(const ModelConfig& config, ParameterStore& store);
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    /// The whole forward run with its loss: the first segment takes {tokens i32 [T]}, each following one what
    /// the one before gave, and the last labels i32 [T] beside it, the next token of each or -1 where it does
    /// not count. It gives {cross-entropy, z-loss}, f64 [1] each, summed over the labels that count.
    /// `recompute` keeps only what enters a layer's segments.
    std::vector<LayerSegment> segments(bool recompute) const;

    /// The final hidden states [T, D], after the final norm: those of all tokens on every tensor rank. No
    /// gradients.
    Tensor hidden(LayerContext& ctx, const Tensor& tokens) const;
    /// Logits [T, V] of hidden states: of the words that this rank holds, from first_word() on.
    Tensor logits(LayerContext& ctx, const Tensor& hidden) const;
    int64_t first_word() const { return head_->sections().front().partition.first_row(); }

    const ModelConfig& config() const { return config_; }
    const std::vector<const MoeLayer*>& moe_layers() const { return moe_layers_; }
    const std::vector<std::unique_ptr<Block>>& blocks() const { return blocks_; }
    /// What the z-loss of the head is multiplied by before division by the number of valid labels.
    double head_z_weight() const { return config_.head.z_loss; }

    /// Model FLOPs of one forward run over these documents; a training step does three times as many.
    double forward_flops(const Documents& documents) const;
    int64_t num_parameters() const { return num_parameters_; }
    /// Parameters that one token uses.
    int64_t num_active_parameters() const;

  private:
    Values embed(LayerContext& ctx, const Values& in) const;
    Values loss(LayerContext& ctx, const Values& in) const;
    ops::LogitOptions loss_options() const;

    const ModelConfig config_;
    const Parameter* embedding_;
    std::unique_ptr<Norm> embedding_norm_, final_norm_;
    const Parameter* head_; // the embedding where tied
    int embedding_unit_, head_unit_;
    std::vector<std::unique_ptr<Block>> blocks_;
    std::vector<int> block_units_;
    std::vector<const MoeLayer*> moe_layers_;
    int64_t num_parameters_ = 0;
};

} // namespace braid
