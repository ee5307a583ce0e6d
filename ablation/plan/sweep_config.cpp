#include "ablation/plan/sweep_config.h"

#include <filesystem>

#include "ablation/plan/sweep_schema.h"
#include "base/atomic_file.h"
#include "base/error.h"

namespace braid {
namespace {

/// Every value below `node` by its dotted path, in order; a list is one value.
void flatten(const YamlNode& node, const std::string& path,
             std::vector<std::pair<std::string, std::string>>& values) {
    if (!node.is_map()) values.emplace_back(path, to_flow_yaml(node));
    for (const YamlEntry& entry : node.entries) flatten(entry.value, join_path(path, entry.key), values);
}

} // namespace

SweepConfig parse_sweep(std::string_view text, const std::string& source) {
    const YamlNode tree = parse_yaml(text, source);
    if (!tree.is_map())
        throw ConfigError("{}: expected a sweep file, a map with extends and axes, found {}", source,
                          tree.shown());
    SweepConfig sweep;
    ReadLog log;
    log.given[""] = tree.location;
    log.source = source;
    sweep_schema().read(tree, "", sweep, log);
    log.throw_faults(sweep_docs(), tree);
    if (sweep.name.empty()) sweep.name = std::filesystem::path(source).stem().string();
    if (!is_config_name(sweep.name))
        throw ConfigError("{}: name: expected letters, digits, _ and -, found {}", source, sweep.name);
    return sweep;
}

SweepConfig read_sweep(const std::string& path) {
    return parse_sweep(read_whole_file(path, kMaxYamlBytes, ExitCode::usage), path);
}

std::string to_yaml(const SweepConfig& sweep) {
    return to_yaml(sweep_schema().write(sweep));
}

std::vector<std::string> sweep_differences(const SweepConfig& old_plan, const SweepConfig& new_plan) {
    std::vector<std::pair<std::string, std::string>> before, after;
    flatten(sweep_schema().write(old_plan), "", before);
    flatten(sweep_schema().write(new_plan), "", after);
    const std::map<std::string, std::string> old_values(before.begin(), before.end()),
        new_values(after.begin(), after.end());
    constexpr const char* kAbsent = "(absent)";
    std::vector<std::string> lines;
    for (const auto& [key, value] : before) {
        const auto now = new_values.find(key);
        if (now == new_values.end() || now->second != value)
            lines.push_back(
                fmt::format("{}: {} -> {}", key, value, now == new_values.end() ? kAbsent : now->second));
    }
    for (const auto& [key, value] : after)
        if (!old_values.contains(key)) lines.push_back(fmt::format("{}: {} -> {}", key, kAbsent, value));
    return lines;
}

} // namespace braid
