#include "layers/model/registry.h"

#include <algorithm>

#include "layers/feed_forward/mlp_config.h"
#include "layers/feed_forward/moe_config.h"
#include "layers/mixers/attention_config.h"
#include "layers/mixers/delta_net.h"
#include "layers/mixers/gated_delta_net_config.h"
#include "layers/mixers/gated_linear.h"
#include "layers/mixers/kimi_delta.h"
#include "layers/mixers/lightning.h"
#include "layers/mixers/mamba2.h"
#include "layers/mixers/mla.h"
#include "layers/mixers/short_conv.h"

namespace braid {

const std::vector<SublayerType>& sublayer_types() {
    static const std::vector<SublayerType> types = {
        attention_type(),  mla_type(),    gated_delta_net_type(), delta_net_type(),  gated_linear_type(),
        kimi_delta_type(), mamba2_type(), lightning_type(),       short_conv_type(), mlp_type(),
        moe_type(),
    };
    return types;
}

const SublayerType& type_of(const SublayerConfig& sublayer) {
    for (const SublayerType& type : sublayer_types())
        if (sublayer.kind.has_type_of(type.initial)) return type;
    throw InternalError("a sublayer of no type");
}

std::unique_ptr<Sublayer> make_sublayer(const LayerBuilder& build) {
    return type_of(build.sublayer.config).make(build);
}

DeclaredSublayer declare_alone(const ResolvedSublayer& sublayer, const ModelConfig& model) {
    ParameterStore store;
    store.begin_unit("layers.0");
    int num_moe = 0;
    (void)make_sublayer({store, model, sublayer, 0, 1, 0, num_moe});
    DeclaredSublayer found;
    for (const PlacedSection& section : store.sections()) {
        const Shape& shape = section->spec.shape;
        double elements = 1; // that of a whole model may overflow an integer
        for (const int64_t size : shape.dims()) elements *= static_cast<double>(size);
        found.num_elements += elements;
        found.has_experts |= section->spec.expert;
        for (const Split& split : section->spec.splits) {
            const SharedCount count{split.key, split.axis,
                                    split.parts > 0 ? split.parts : shape[split.dim] / split.ranges,
                                    split.repeats};
            const bool known =
                std::find(found.shared.begin(), found.shared.end(), count) != found.shared.end();
            if (!count.key.empty() && !known) found.shared.push_back(count);
        }
    }
    return found;
}

} // namespace braid
