#pragma once

#include <vector>

#include "ablation/plan/sweep_config.h"
#include "base/schema.h"

namespace braid {

const Schema<SweepConfig>& sweep_schema();
const SchemaDocs& sweep_docs();

/// Axes by name, each {key: K, values: [...]} or {variants: {LABEL: {K: value, ...}, ...}}.
template <>
struct ConfigValue<std::vector<SweepAxis>> {
    static std::vector<SweepAxis> read(const YamlNode& node, const KeySpec& spec);
    static YamlNode write(const std::vector<SweepAxis>& axes, const KeySpec& spec);
    static std::string accepts(const KeySpec&) {
        return "map of axes, each {key: K, values: [...]} or {variants: {LABEL: {K: value}}}";
    }
};

template <>
struct ConfigValue<Settings> {
    static Settings read(const YamlNode& node, const KeySpec& spec);
    static YamlNode write(const Settings& value, const KeySpec& spec);
    static std::string accepts(const KeySpec&) { return "map of values"; }
};

template <>
struct ConfigValue<SeedList> {
    static SeedList read(const YamlNode& node, const KeySpec& spec);
    static YamlNode write(const SeedList& value, const KeySpec& spec);
    static std::string accepts(const KeySpec&) { return "whole number, or list of seeds"; }
};

} // namespace braid
