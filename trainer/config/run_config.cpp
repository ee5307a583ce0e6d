#include "trainer/config/run_config.h"

#include <algorithm>
#include <map>

#include "base/config_file.h"
#include "base/error.h"
#include "layers/specification/model_schema.h"
#include "layers/specification/pattern.h"
#include "trainer/config/run_schema.h"

namespace braid {

namespace {

RunReading read_tree(YamlNode tree, const std::string& source) {
    YamlNode* const model = tree.find("model");
    YamlNode* const sublayers = model ? model->find("sublayers") : nullptr;
    if (sublayers && sublayers->is_map()) resolve_copies(*sublayers);
    RunReading reading;
    ReadLog log;
    log.given[""] = tree.location;
    log.source = source;
    run_schema().read(tree, "", reading.run, log);
    reading.faults = log.fault_lines(run_docs(), tree);
    reading.sound.model = log.is_sound("model");
    reading.sound.parallel = log.is_sound("parallel");
    reading.sound.train = log.is_sound("train");
    reading.sound.optimizer = log.is_sound("optimizer");
    reading.sound.data = log.is_sound("data");
    return reading;
}

RunConfig without_faults(RunReading reading) {
    if (!reading.faults.empty()) throw ConfigError("{}", reading.faults);
    return std::move(reading.run);
}

void escape_tree(YamlNode& node) {
    if (node.is_scalar()) node.scalar = escape_variables(node.scalar);
    for (YamlNode& item : node.items) escape_tree(item);
    for (YamlEntry& entry : node.entries) escape_tree(entry.value);
}

bool holds_only_scalars(const YamlNode& list) {
    return std::all_of(list.items.begin(), list.items.end(),
                       [](const YamlNode& item) { return item.is_scalar(); });
}

/// Every value below `node` by its dotted path, in order.
void flatten(const YamlNode& node, const std::string& path,
             std::vector<std::pair<std::string, std::string>>& values) {
    if (node.is_scalar() || (node.is_list() && holds_only_scalars(node))) {
        if (!node.is_list() || !node.items.empty()) values.emplace_back(path, to_flow_yaml(node));
        return;
    }
    for (size_t i = 0; i < node.items.size(); ++i)
        flatten(node.items[i], path + "." + std::to_string(i), values);
    for (const YamlEntry& entry : node.entries)
        flatten(entry.value, path.empty() ? entry.key : path + "." + entry.key, values);
}

} // namespace

RunReading read_run_file(const std::string& path, const std::vector<std::string>& overrides) {
    return read_tree(load_config_tree(path, overrides), path);
}

RunConfig read_run_config(const std::string& path, const std::vector<std::string>& overrides) {
    return without_faults(read_run_file(path, overrides));
}

RunConfig parse_run_config(std::string_view text, const std::string& name,
                           const std::vector<std::string>& overrides) {
    return without_faults(read_tree(parse_config_tree(text, name, overrides), name));
}

RunConfig parse_stored_config(std::string_view text, const std::string& name) {
    return without_faults(read_tree(parse_stored_tree(text, name), name));
}

std::string to_yaml(const RunConfig& run) {
    YamlNode tree = run_schema().write(run);
    // Left out where they follow other keys, so that overriding those still moves them.
    if (run.run_dir == "runs/" + run.name) tree.remove("run_dir");
    if (run.data.seed == run.seed) tree.find("data")->remove("seed");
    escape_tree(tree);
    return to_yaml(tree);
}

std::vector<ConfigDifference> all_differences(const RunConfig& a, const RunConfig& b) {
    std::vector<std::pair<std::string, std::string>> old_values, new_values;
    flatten(run_schema().write(a), "", old_values);
    flatten(run_schema().write(b), "", new_values);
    const std::map<std::string, std::string> old_map(old_values.begin(), old_values.end());
    const std::map<std::string, std::string> new_map(new_values.begin(), new_values.end());
    std::vector<ConfigDifference> differences;
    for (const auto& [key, value] : old_values) {
        const auto other = new_map.find(key);
        if (other == new_map.end())
            differences.push_back({key, value, ConfigDifference::kAbsent});
        else if (other->second != value)
            differences.push_back({key, value, other->second});
    }
    for (const auto& [key, value] : new_values) {
        if (!old_map.contains(key)) differences.push_back({key, ConfigDifference::kAbsent, value});
    }
    return differences;
}

bool spells_layers(const std::string& key) {
    return key.starts_with("model.pattern") || key == "model.num_layers" || key == "model.partial_tile" ||
           key.starts_with("model.layers.");
}

std::vector<ConfigDifference> numeric_differences(const RunConfig& a, const RunConfig& b) {
    std::vector<ConfigDifference> differences = all_differences(a, b);
    const bool same_layers = !differences.empty() && expand_layers(a.model) == expand_layers(b.model);
    std::erase_if(differences, [&](const ConfigDifference& difference) {
        const KeyDoc* const doc = run_docs().find(difference.key);
        return (doc && !doc->changes_numbers) || (same_layers && spells_layers(difference.key));
    });
    return differences;
}

} // namespace braid
