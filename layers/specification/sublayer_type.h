#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/schema.h"
#include "layers/specification/pattern.h"
#include "tensor/parameters/rank_grid.h"

namespace braid {

struct LayerBuilder;
class Sublayer;

/// All that is said about one type of sublayer beside its parameters and its forward function, which say the
/// rest: counts of parameters and what layouts can share out follow from what the layer declares. It stands
/// beside the layer (describe_sublayer in layers/sublayer/layer.h), and sublayer_types() lists it.
struct SublayerType {
    using Example = std::pair<std::string, AnyStruct>;

    std::string name;     // the word after `type:`
    std::string synonyms; // what others call it, separated by blanks, for suggestions
    AnyStruct initial;    // its config struct, as keys that are left out leave it
    /// Adds its keys to those that may stand beside `type`.
    std::function<void(Schema<SublayerConfig>&)> add_keys;
    std::function<std::unique_ptr<Sublayer>(const LayerBuilder&)> make;
    /// Makes sizes those that a test of layouts affords, at about the ratios of the real ones.
    std::function<void(AnyStruct& config)> shrink;
    /// Small configs that between them use every option, by a name for each: what tests of all sublayers run.
    std::vector<Example> examples;
    /// Whether init.decay and init.a_range say how it starts.
    bool decays = false;
    /// What it cannot do on these ranks although its parameters can be shared out; "" where there is nothing.
    std::function<std::string(const ResolvedSublayer&, const RankGrid&)> refusal = {};
};

/// Every type that a file may name. layers/model/registry.cpp, which knows all layers, has the list.
const std::vector<SublayerType>& sublayer_types();
const SublayerType& type_of(const SublayerConfig& sublayer);

/// A count of the config, such as heads, that is shared out over the ranks of an axis.
struct SharedCount {
    std::string key; // of the sublayer, or a whole one that begins with "model."
    Axis axis;
    int64_t count;
    bool repeats; // of fewer than ranks, several ranks may hold the same
    bool operator==(const SharedCount&) const = default;
};
/// What a sublayer declares, found by declaring it without memory.
struct DeclaredSublayer {
    double num_elements = 0;
    std::vector<SharedCount> shared; // each once
    bool has_experts = false;
};
DeclaredSublayer declare_alone(const ResolvedSublayer& sublayer, const ModelConfig& model);

// Bounds of sizes, so that no product of a few of them overflows.
inline constexpr double kMaxHeads = 65'536, kMaxHeadDim = 65'536, kMaxSize = 16'777'216;

} // namespace braid
