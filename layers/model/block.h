#pragma once

#include <memory>

#include "layers/sublayer/layer.h"
#include "layers/sublayer/norm.h"
#include "layers/sublayer/recorder.h"

namespace braid {

/// One sublayer F with its norms and its residual rule, as NormPlacement spells it. A block alone decides how
/// a branch joins the residual stream.
class Block {
  public:
    Block(const LayerBuilder& build, std::unique_ptr<Sublayer> sublayer);

    /// The block as segments that follow each other: the first takes {x [T, D]}, the last gives the new {x}.
    std::vector<LayerSegment> segments(int unit, bool recompute) const;
    const Sublayer& sublayer() const { return *sublayer_; }
    const DiagnosticSite& site() const { return site_; }

  private:
    Tensor enter(LayerContext& ctx, const Tensor& x) const;
    Tensor leave(LayerContext& ctx, const Tensor& x, const Tensor& branch) const;

    DiagnosticSite site_;
    NormPlacement placement_;
    ResidualConfig residual_;
    std::unique_ptr<Norm> norm_;      // before F, or the only one
    std::unique_ptr<Norm> post_norm_; // the second of sandwich
    std::unique_ptr<Sublayer> sublayer_;
};

} // namespace braid
