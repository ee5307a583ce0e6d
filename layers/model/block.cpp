#include "layers/model/block.h"

#include "ops/basic/elementwise.h"
#include "ops/basic/reduce.h"

namespace braid {
namespace {

/// x under a new id whose gradient is reported on its way back, which a recomputation alone may record; the
/// numbers pass unchanged in both directions.
Tensor report_gradient(LayerContext& ctx, const Tensor& x, const DiagnosticSite& site) {
    if (!ctx.tape) return x;
    Tensor y = x.detach();
    ctx.tape->record({"report_gradient",
                      {y.ref()},
                      {},
                      [x = x.ref(), site, &recorder = *ctx.recorder](const Backward& run) {
                          recorder.rms(site, "gradient_rms", run.dy[0]);
                          run.add(x, run.dy[0]);
                      }});
    return y;
}

} // namespace

Block::Block(const LayerBuilder& build, std::unique_ptr<Sublayer> sublayer)
    : site_{build.layer, build.position, build.sublayer.name},
      placement_(build.sublayer.norm.placement),
      residual_(build.model.residual),
      sublayer_(std::move(sublayer)) {
    const auto norm = [&](const char* part) {
        return std::make_unique<Norm>(build.store, build.sublayer.norm, build.name(part),
                                      build.model.hidden_size, build.sublayer.name, build.layer);
    };
    if (placement_ == NormPlacement::none) return;
    norm_ = norm(placement_ == NormPlacement::pre || placement_ == NormPlacement::sandwich ? "pre_norm"
                                                                                           : "post_norm");
    if (placement_ == NormPlacement::sandwich) post_norm_ = norm("post_norm");
}

std::vector<LayerSegment> Block::segments(int unit, bool recompute) const {
    const std::vector<Phase> phases = sublayer_->phases();
    std::vector<LayerSegment> segments;
    for (size_t i = 0; i < phases.size(); ++i) {
        const bool first = i == 0, last = i + 1 == phases.size();
        // Values between segments are {x, whatever the phase gave}: the residual stream travels beside the
        // branch.
        auto forward = [this, phase = phases[i], first, last](LayerContext& ctx, const Values& in) {
            const Tensor& x = in[0];
            Values out = phase.run(ctx, first ? Values{enter(ctx, x)} : Values(in.begin() + 1, in.end()));
            if (last) return Values{leave(ctx, x, out[0])};
            out.insert(out.begin(), x);
            return out;
        };
        const std::string label = fmt::format("layers.{}.{}{}{}", site_.layer, site_.sublayer,
                                              phases[i].name.empty() ? "" : ".", phases[i].name);
        const auto policy = recompute && phases[i].recomputable ? LayerSegment::Policy::recompute
                                                                : LayerSegment::Policy::keep;
        segments.emplace_back(label, unit, policy, std::move(forward));
    }
    return segments;
}

Tensor Block::enter(LayerContext& ctx, const Tensor& x) const {
    const bool norm_first = placement_ == NormPlacement::pre || placement_ == NormPlacement::sandwich;
    return norm_first ? norm_->forward(ctx, x) : x;
}

Tensor Block::leave(LayerContext& ctx, const Tensor& x, const Tensor& branch) const {
    Tensor b = branch;
    if (placement_ == NormPlacement::post) b = norm_->forward(ctx, b);
    if (placement_ == NormPlacement::sandwich) b = post_norm_->forward(ctx, b);
    Tensor y =
        ops::add(ctx, ops::scale(ctx, x, residual_.stream_scale), ops::scale(ctx, b, residual_.branch_scale));
    if (placement_ == NormPlacement::residual_post) y = norm_->forward(ctx, y);
    if (!ctx.recorder || !ctx.recorder->wants_diagnostics()) return y;
    if (Recorder* recorder = ctx.reports()) {
        recorder->rms(site_, "residual_rms", y);
        recorder->rms(site_, "branch_rms", b);
        recorder->max(site_, "output_max", ops::max_abs(y));
    }
    return report_gradient(ctx, y, site_);
}

} // namespace braid
