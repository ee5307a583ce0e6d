#include "layers/model/registry.h"

#include "layers/feed_forward/mlp.h"
#include "layers/feed_forward/moe.h"
#include "layers/mixers/attention.h"
#include "layers/mixers/gated_delta_net.h"

namespace braid {
namespace {

struct Maker {
    const LayerBuilder& build;
    int position;
    int& num_moe;

    std::unique_ptr<Sublayer> operator()(const AttentionConfig& config) const {
        return std::make_unique<AttentionLayer>(build, config, position);
    }
    std::unique_ptr<Sublayer> operator()(const GatedDeltaNetConfig& config) const {
        return std::make_unique<GatedDeltaNetLayer>(build, config, position);
    }
    std::unique_ptr<Sublayer> operator()(const MlpConfig& config) const {
        return std::make_unique<MlpLayer>(build, config);
    }
    std::unique_ptr<Sublayer> operator()(const MoeConfig& config) const {
        return std::make_unique<MoeLayer>(build, config, position, num_moe++);
    }
};

} // namespace

std::unique_ptr<Sublayer> make_sublayer(const LayerBuilder& build, int position, int& num_moe) {
    return std::visit(Maker{build, position, num_moe}, build.sublayer.config.kind);
}

} // namespace braid
