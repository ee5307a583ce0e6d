#include "trainer/start/start_state.h"

#include <algorithm>
#include <set>

#include "base/first_few.h"

namespace braid {
namespace {

/// "model/NAME" and "buffer/NAME" without what stands before the slash; of "optimizer/STATE/NAME" the name
/// too.
std::string bare(const std::string& name) {
    return name.substr(name.rfind('/') + 1);
}

std::string kind_of(const std::string& name) {
    return name.substr(0, name.find('/'));
}

/// Fills a part from a tensor of that name.
void read_from(Allocator& host, const CheckpointReader& checkpoint, StatePart part, std::string name) {
    part.info.name = std::move(name);
    read_part(host, checkpoint, part);
}

bool is_float(DType dtype) {
    return dtype == DType::f32 || dtype == DType::f64;
}

/// Whether the wanted tensor can be filled from that of this name.
bool has(const Manifest& manifest, const TensorInfo& wanted, const std::string& name) {
    const StoredTensor* stored = manifest.find(name);
    if (!stored || stored->info.kind != wanted.kind || stored->info.shape != wanted.shape) return false;
    const DType dtype = stored->info.dtype;
    return dtype == wanted.dtype || (is_float(dtype) && is_float(wanted.dtype));
}

/// Counts of the step before (of tokens by expert) are no weights: a new run has no step before.
bool is_count(const TensorInfo& tensor) {
    return tensor.kind == TensorKind::buffer && !is_floating(tensor.dtype);
}

struct OldName {
    std::string name, entry; // of the map; empty: none fits
};

/// The old name by the longest entry of the map that fits.
OldName mapped(const std::string& name, const std::map<std::string, std::string>& map) {
    for (size_t length = name.size(); length != std::string::npos && length > 0;
         length = name.rfind('.', length - 1)) {
        const auto entry = map.find(name.substr(0, length));
        if (entry == map.end()) continue;
        return {entry->second + name.substr(length), entry->first};
    }
    return {name, ""};
}

/// An entry that does nothing is a slip of the pen, whatever `missing` says. `found`: whether those that fit
/// a tensor of the model lead to one of the checkpoint.
void expect_all_used(const std::map<std::string, std::string>& map,
                     const std::map<std::string, bool>& found) {
    for (const auto& [name, old_name] : map) {
        const auto entry = found.find(name);
        if (entry == found.end())
            throw ConfigError(
                "start.map.{}: no tensor of the model has this name or prefix; `braid config layers` and the "
                "manifest of a checkpoint list them",
                name);
        if (!entry->second)
            throw ConfigError("start.map.{}: the checkpoint has no tensor of the name or prefix {} for it",
                              name, old_name);
    }
}

} // namespace

std::vector<std::string> load_branch(const CheckpointReader& checkpoint, ParameterStore& store,
                                     const Optimizer& optimizer) {
    const Manifest& manifest = checkpoint.manifest();
    std::set<std::string> parameters, fresh;
    for (const TensorInfo& tensor : state_tensors(store, &optimizer)) {
        if (tensor.kind == TensorKind::parameter) {
            parameters.insert(tensor.name);
            if (!has(manifest, tensor, tensor.name))
                throw CheckpointError("{}: expected a parameter {} of shape {}", checkpoint.folder(),
                                      tensor.name, to_string(tensor.shape));
        } else if (tensor.kind == TensorKind::optimizer && !has(manifest, tensor, tensor.name)) {
            fresh.insert(bare(tensor.name)); // whatever other state of it there may be
        }
    }
    for (const StoredTensor& stored : manifest.tensors)
        if (stored.info.kind == TensorKind::parameter && !parameters.contains(stored.info.name))
            throw CheckpointError("{}: parameter {} is unknown to the model", checkpoint.folder(),
                                  stored.info.name);
    Allocator host;
    for (const StatePart& part : parameter_parts(store, Extent::held)) read_part(host, checkpoint, part);
    for (const StatePart& part : buffer_parts(store, Extent::held))
        if (has(manifest, part.info, part.info.name)) read_part(host, checkpoint, part);
    for (const StatePart& part : optimizer_parts(store, optimizer, Extent::held))
        if (!fresh.contains(bare(part.info.name))) read_part(host, checkpoint, part);
    store.values_changed();
    return {fresh.begin(), fresh.end()};
}

WeightPlan plan_weights(const std::vector<TensorInfo>& model, const Manifest& checkpoint,
                        const StartConfig& start) {
    WeightPlan plan;
    std::set<std::string> taken;
    std::map<std::string, bool> found; // by entry of the map
    std::vector<std::string> different;
    for (const TensorInfo& tensor : model) {
        if (is_count(tensor)) continue;
        const std::string name = bare(tensor.name);
        const OldName old = mapped(name, start.map);
        const std::string old_name = kind_of(tensor.name) + "/" + old.name;
        const StoredTensor* stored = checkpoint.find(old_name);
        taken.insert(old_name);
        if (!old.entry.empty()) found[old.entry] |= stored != nullptr;
        if (!stored)
            plan.missing.push_back(name);
        else if (has(checkpoint, tensor, old_name))
            plan.sources[tensor.name] = old_name;
        else
            different.push_back(fmt::format("{} ({} there, {} now)", name, to_string(stored->info.shape),
                                            to_string(tensor.shape)));
    }
    for (const StoredTensor& stored : checkpoint.tensors)
        if (stored.info.kind != TensorKind::optimizer && !is_count(stored.info) &&
            !taken.contains(stored.info.name))
            plan.surplus.push_back(bare(stored.info.name));
    expect_all_used(start.map, found);
    if (!different.empty())
        throw ConfigError("start.from: {} tensors have another shape than in the model: {}", different.size(),
                          first_few(different));
    if (!plan.missing.empty() && start.missing == MissingTensors::refuse)
        throw ConfigError(
            "start.from: the checkpoint lacks {} tensors of the model: {}; start.missing: random gives them "
            "their initial values, start.map other names",
            plan.missing.size(), first_few(plan.missing));
    if (!plan.surplus.empty() && start.surplus == SurplusTensors::refuse)
        throw ConfigError(
            "start.from: the checkpoint has {} tensors that the model lacks: {}; start.surplus: drop leaves "
            "them out",
            plan.surplus.size(), first_few(plan.surplus));
    return plan;
}

void load_weights(const CheckpointReader& checkpoint, ParameterStore& store, const WeightPlan& plan) {
    Allocator host;
    for (const auto& parts : {parameter_parts(store, Extent::held), buffer_parts(store, Extent::held)})
        for (const StatePart& part : parts) {
            const auto source = plan.sources.find(part.info.name);
            if (source != plan.sources.end()) read_from(host, checkpoint, part, source->second);
        }
    store.values_changed();
}

} // namespace braid
