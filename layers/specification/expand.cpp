#include <algorithm>
#include <set>

#include "base/config_value.h"
#include "base/error.h"
#include "base/schema.h"
#include "base/suggest.h"
#include "layers/specification/model_schema.h"
#include "layers/specification/pattern.h"

namespace braid {

namespace {

/// A pattern key's layers, with the key in front of what is wrong.
std::vector<LayerNames> parse_key(const std::string& key, const std::string& text) {
    try {
        return parse_pattern(text);
    } catch (const ConfigError& error) {
        throw ConfigError("model.{}: {}", key, error.what());
    }
}

void expect_known(const ModelConfig& model, const std::string& key, const std::string& name) {
    if (model.sublayers.contains(name)) return;
    std::vector<std::string> names;
    for (const auto& [known, config] : model.sublayers) names.push_back(known);
    throw ConfigError("model.{}: expected a name in model.sublayers ({}), found {}{}", key,
                      join_choices(names), name, did_you_mean(name, names));
}

std::vector<LayerNames> known_layers(const ModelConfig& model, const std::string& key,
                                     const std::string& text) {
    std::vector<LayerNames> layers = parse_key(key, text);
    for (const LayerNames& layer : layers) {
        for (const std::string& name : layer) expect_known(model, key, name);
    }
    return layers;
}

/// How many layers the tiled part has.
int64_t body_length(const ModelConfig& model, int64_t ends, int64_t tile) {
    if (model.num_layers == 0) return tile;
    const int64_t body = model.num_layers - ends;
    if (body < 0 || (body == 0 && tile > 0))
        throw ConfigError(
            "model.num_layers: expected more than the {} layers of pattern_head and pattern_tail, found {}",
            ends, model.num_layers);
    if (body > 0 && tile == 0)
        throw ConfigError("model.pattern: expected a layer to repeat up to num_layers ({}), found none",
                          model.num_layers);
    if (body == 0 || body % tile == 0 || model.partial_tile == PartialTile::truncate) return body;
    const int64_t below = body / tile * tile + ends, above = below + tile;
    throw ConfigError(
        "model.num_layers: expected head and tail ({}) plus whole tiles of {} layers, found {}; nearest: {}, "
        "or "
        "partial_tile: truncate",
        ends, tile, model.num_layers,
        below > ends ? fmt::format("{} or {}", below, above) : fmt::format("{}", above));
}

std::vector<LayerNames> all_layers(const ModelConfig& model) {
    std::vector<LayerNames> layers = known_layers(model, "pattern_head", model.pattern_head);
    const std::vector<LayerNames> tile = known_layers(model, "pattern", model.pattern);
    const std::vector<LayerNames> tail = known_layers(model, "pattern_tail", model.pattern_tail);
    const auto num_tile = static_cast<int64_t>(tile.size());
    const int64_t body = body_length(model, static_cast<int64_t>(layers.size() + tail.size()), num_tile);
    if (static_cast<int64_t>(layers.size() + tail.size()) + body > kMaxLayers)
        throw ConfigError("model.num_layers: expected at most {}, found {}", kMaxLayers, model.num_layers);
    for (int64_t i = 0; i < body; ++i) layers.push_back(tile[static_cast<size_t>(i % num_tile)]);
    layers.insert(layers.end(), tail.begin(), tail.end());
    if (layers.empty()) throw ConfigError("model.pattern: expected at least one layer, found none");
    return layers;
}

/// A layer on its way through the edits: names that may be replaced, settings that may be changed.
struct Draft {
    std::string name;
    SublayerConfig config;
};
using DraftLayer = std::vector<Draft>;

Draft* find_draft(DraftLayer& layer, const std::string& name) {
    for (Draft& draft : layer) {
        if (draft.name == name) return &draft;
    }
    return nullptr;
}

/// Applies "router.scale" -> "2" by writing the sublayer, laying the value on it and reading it again: the
/// same checks as for the whole file.
void set_key(SublayerConfig& config, const std::string& name, const std::string& path,
             const std::string& text, const std::string& key) {
    if (std::count(path.begin(), path.end(), '.') >= kMaxYamlDepth)
        throw ConfigError("{}: the key has more than {} parts", key, kMaxYamlDepth);
    YamlNode value = parse_yaml(text, key);
    relocate(value, {});
    for (size_t end = path.size(); end > 0;) {
        const size_t dot = path.rfind('.', end - 1);
        const size_t begin = dot == std::string::npos ? 0 : dot + 1;
        YamlNode outer = YamlNode::map();
        outer.add(path.substr(begin, end - begin), std::move(value));
        value = std::move(outer);
        end = dot == std::string::npos ? 0 : dot;
    }
    YamlNode tree = sublayer_schema().write(config);
    std::vector<YamlMergeFault> faults;
    merge_yaml(tree, value, faults);
    SublayerConfig changed;
    ReadLog log;
    sublayer_schema().read(tree, name, changed, log);
    SchemaDocs docs;
    sublayer_schema().describe(name, docs);
    try {
        log.throw_faults(docs, tree);
    } catch (const ConfigError& error) {
        throw ConfigError("{}: {}", key,
                          std::string(error.what()).substr(std::string("(built in): ").size()));
    }
    if (!changed.kind.has_type_of(config.kind))
        throw ConfigError("{}: the type cannot change here: use replace", key);
    config = changed;
}

void edit_layer(const ModelConfig& model, const LayerEdit& edit, const std::string& key, int64_t index,
                DraftLayer& layer) {
    for (const auto& [from, to] : edit.replace) {
        expect_known(model, key + ".replace." + from, to);
        Draft* const draft = find_draft(layer, from);
        if (!draft)
            throw ConfigError("model.{}.replace.{}: layer {} has no sublayer of this name", key, from, index);
        if (find_draft(layer, to))
            throw ConfigError("model.{}.replace.{}: layer {} has {} already", key, from, index, to);
        *draft = {to, model.sublayers.at(to)};
    }
    for (const auto& [path, text] : edit.set) {
        const std::string full = fmt::format("model.{}.set.{}", key, path);
        const size_t dot = path.find('.');
        if (dot == std::string::npos || dot == 0 || dot + 1 == path.size())
            throw ConfigError("{}: expected SUBLAYER.KEY, found {}", full, path);
        Draft* const draft = find_draft(layer, path.substr(0, dot));
        if (!draft) throw ConfigError("{}: layer {} has no sublayer {}", full, index, path.substr(0, dot));
        set_key(draft->config, draft->name, path.substr(dot + 1), text, full);
    }
}

void apply_edits(const ModelConfig& model, std::vector<DraftLayer>& layers) {
    int64_t num_edited = 0;
    for (size_t i = 0; i < model.layers.size(); ++i) {
        const LayerEdit& edit = model.layers[i];
        const std::string key = fmt::format("layers.{}", i);
        std::vector<int64_t> indices;
        try {
            indices = parse_indices(edit.at);
        } catch (const ValueFault& fault) {
            throw ConfigError("model.{}.at: {}", key, fault.what());
        }
        // Every edit of a layer is read like a small file, so their number is what bounds the time.
        num_edited += static_cast<int64_t>(indices.size() * std::max<size_t>(1, edit.set.size()));
        if (num_edited > kMaxLayers)
            throw ConfigError("model.{}.at: the edits make more than {} changes", key, kMaxLayers);
        for (const int64_t index : indices) {
            if (index >= static_cast<int64_t>(layers.size()))
                throw ConfigError("model.{}.at: expected layers from 0 to {}, found {}", key,
                                  layers.size() - 1, index);
            edit_layer(model, edit, key, index, layers[static_cast<size_t>(index)]);
        }
    }
}

ResolvedSublayer resolve(const ModelConfig& model, Draft& draft) {
    ResolvedSublayer sublayer{std::move(draft.name), std::move(draft.config), model.norm, model.init};
    const NormOverride& norm = sublayer.config.norm;
    const InitOverride& init = sublayer.config.init;
    sublayer.norm.type = norm.type.value_or(model.norm.type);
    sublayer.norm.placement = norm.placement.value_or(model.norm.placement);
    sublayer.norm.zero_centered = norm.zero_centered.value_or(model.norm.zero_centered);
    sublayer.norm.eps = norm.eps.value_or(model.norm.eps);
    sublayer.init.std = init.std.value_or(model.init.std);
    sublayer.init.distribution = init.distribution.value_or(model.init.distribution);
    sublayer.init.output = init.output.value_or(model.init.output);
    return sublayer;
}

} // namespace

std::vector<LayerConfig> expand_layers(const ModelConfig& model) {
    std::vector<DraftLayer> drafts;
    for (const LayerNames& names : all_layers(model)) {
        DraftLayer& layer = drafts.emplace_back();
        for (const std::string& name : names) layer.push_back({name, model.sublayers.at(name)});
    }
    apply_edits(model, drafts);
    std::vector<LayerConfig> layers;
    for (DraftLayer& draft : drafts) {
        LayerConfig& layer = layers.emplace_back();
        for (Draft& sublayer : draft) layer.sublayers.push_back(resolve(model, sublayer));
    }
    return layers;
}

std::vector<std::string> unused_sublayers(const ModelConfig& model) {
    std::set<std::string> used;
    for (const LayerConfig& layer : expand_layers(model)) {
        for (const ResolvedSublayer& sublayer : layer.sublayers) used.insert(sublayer.name);
    }
    std::vector<std::string> unused;
    for (const auto& [name, config] : model.sublayers) {
        if (!used.contains(name)) unused.push_back(name);
    }
    return unused;
}

} // namespace braid
