#pragma once

// How files are read, written and described: the definitions of Schema's other members; included by
// base/schema.h only.

#include <algorithm>

#include "base/schema.h"

namespace braid {

template <typename T>
const typename Schema<T>::Entry* Schema<T>::find(const std::string& name, const T& target,
                                                 std::string& other_type) const {
    for (const Entry& entry : entries_) {
        if (entry.name != name) continue;
        if (!entry.applies || entry.applies(target)) return &entry;
        other_type = entry.only_for;
    }
    return nullptr;
}

template <typename T>
void Schema<T>::read_entry(const YamlEntry& given, const std::string& path, T& target, ReadLog& log) const {
    const std::string full = join_path(path, given.key);
    std::string other_type;
    const Entry* const entry = find(given.key, target, other_type);
    if (entry) {
        log.given[full] = given.location;
        entry->read(given.value, full, target, log);
    } else if (not_built_.contains(given.key)) {
        log.fail(given.location, full, "not built yet: remove it");
    } else if (!other_type.empty()) {
        log.fail(given.location, full, fmt::format("this key belongs to {} {}", type_key_, other_type));
    } else {
        std::vector<std::string> siblings;
        for (const Entry& known : entries_) {
            if (!known.applies || known.applies(target)) siblings.push_back(known.name);
        }
        log.unknown.push_back({given.location, full, std::move(siblings)});
    }
}

template <typename T>
void Schema<T>::read(const YamlNode& node, const std::string& path, T& target, ReadLog& log) const {
    if (!node.is_map())
        return log.fail(node.location, path,
                        fmt::format("expected a map{}, found {}", example_note(example_), node.shown()));
    const size_t num_faults = log.num_faults();
    if (!type_key_.empty()) {
        const auto type = std::find_if(node.entries.begin(), node.entries.end(),
                                       [&](const YamlEntry& entry) { return entry.key == type_key_; });
        if (type == node.entries.end())
            return log.fail(node.location, join_path(path, type_key_), "required, and left out");
        read_entry(*type, path, target, log);
        if (log.num_faults() > num_faults) return; // what the other keys mean depends on it
    }
    for (const YamlEntry& given : node.entries) {
        if (given.key != type_key_ || type_key_.empty()) read_entry(given, path, target, log);
    }
    for (const Entry& entry : entries_) {
        if (entry.required && (!entry.applies || entry.applies(target)) && !node.find(entry.name))
            log.fail(node.location, join_path(path, entry.name),
                     "required, and left out" + example_note(entry.example));
    }
    const auto is_sound = [&](const std::vector<std::string>& needs) {
        return needs.empty() ? log.num_faults() == num_faults
                             : std::all_of(needs.begin(), needs.end(), [&](const std::string& key) {
                                   return log.is_sound(join_path(path, key));
                               });
    };
    SectionCheck section(path, log);
    for (const Finish& finish : finish_)
        if (is_sound(finish.needs)) finish.fill(target, section);
    std::vector<const Rule*> rules; // chosen before any of them reports a fault that hides another's
    for (const Rule& rule : rules_)
        if (rule.check && is_sound(rule.needs)) rules.push_back(&rule);
    if (is_sound({})) check_pointless(node, path, target, log);
    for (const Rule* const rule : rules) rule->check(target, section);
}

template <typename T>
void Schema<T>::check_pointless(const YamlNode& node, const std::string& path, const T& target,
                                ReadLog& log) const {
    for (const Pointless& rule : pointless_) {
        const std::string key = join_path(path, rule.key);
        if (node.find(rule.key) && rule.holds(target))
            log.fail(log.location_of(key), key,
                     fmt::format("has no effect: {}; remove it ({}=null)", rule.why, key));
    }
}

template <typename T>
YamlNode Schema<T>::write(const T& value) const {
    YamlNode node = YamlNode::map();
    for (const Entry& entry : entries_) {
        if (!entry.write || (entry.applies && !entry.applies(value))) continue;
        const bool is_pointless =
            std::any_of(pointless_.begin(), pointless_.end(),
                        [&](const Pointless& rule) { return rule.key == entry.name && rule.holds(value); });
        if (is_pointless) continue;
        YamlNode child = entry.write(value);
        if (!child.is_null()) node.add(entry.name, std::move(child));
    }
    return node;
}

template <typename T>
void Schema<T>::describe(const std::string& prefix, SchemaDocs& docs) const {
    for (const Entry& entry : entries_) entry.describe(join_path(prefix, entry.name), docs);
    for (const Pointless& rule : pointless_)
        docs.rules.push_back({prefix, fmt::format("{} is refused where {}", rule.key, rule.why)});
    for (const Rule& rule : rules_) docs.rules.push_back({prefix, rule.text});
}

} // namespace braid
