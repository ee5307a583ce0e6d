#pragma once

// The definitions of Schema's members; included by base/schema.h only.

#include <algorithm>
#include <regex>

#include "base/schema.h"

namespace braid {

inline std::string join_path(const std::string& path, const std::string& key) {
    return path.empty() ? key : path + "." + key;
}

template <typename T>
template <typename V>
Schema<T>& Schema<T>::key(const std::string& name, V T::*member, KeySpec spec) {
    Entry entry;
    entry.name = name;
    entry.required = spec.required;
    entry.read = [=](const YamlNode& node, const std::string& path, T& target, ReadLog& log) {
        try {
            target.*member = ConfigValue<V>::read(node, spec);
        } catch (const ValueFault& fault) {
            log.fail(node.location, path, fault.what());
        }
    };
    entry.write = [=](const T& value) { return ConfigValue<V>::write(value.*member, spec); };
    entry.describe = [=](const std::string& path, SchemaDocs& docs) {
        const YamlNode standard = ConfigValue<V>::write(T{}.*member, spec);
        std::string text = spec.required ? "required" : spec.default_text;
        if (text.empty()) text = standard.is_null() ? "none" : to_flow_yaml(standard);
        docs.keys.push_back(
            {path, ConfigValue<V>::accepts(spec), text, spec.help, "", spec.aliases, spec.changes_numbers});
    };
    entries_.push_back(std::move(entry));
    return *this;
}

template <typename T>
template <typename S>
Schema<T>& Schema<T>::section(const std::string& name, S T::*member, const Schema<S>& schema,
                              const std::string& help) {
    Entry entry;
    entry.name = name;
    entry.read = [member, &schema](const YamlNode& node, const std::string& path, T& target, ReadLog& log) {
        schema.read(node, path, target.*member, log);
    };
    entry.write = [member, &schema](const T& value) {
        YamlNode node = schema.write(value.*member);
        return node.entries.empty() ? YamlNode{} : node;
    };
    entry.describe = [&schema, help](const std::string& path, SchemaDocs& docs) {
        docs.keys.push_back({path, "map", "", help, "", {}, true});
        schema.describe(path, docs);
    };
    entries_.push_back(std::move(entry));
    return *this;
}

template <typename T>
template <typename S>
Schema<T>& Schema<T>::map(const std::string& name, std::map<std::string, S> T::*member,
                          const Schema<S>& schema, KeySpec spec) {
    Entry entry;
    entry.name = name;
    entry.required = spec.required;
    entry.read = [member, &schema](const YamlNode& node, const std::string& path, T& target, ReadLog& log) {
        static const std::regex legal("[A-Za-z_][A-Za-z0-9_-]{0,63}");
        if (!node.is_map()) return log.fail(node.location, path, "expected a map, found " + node.shown());
        for (const YamlEntry& item : node.entries) {
            const std::string item_path = join_path(path, item.key);
            log.given[item_path] = item.location;
            if (!std::regex_match(item.key, legal))
                log.fail(item.location, item_path,
                         "a name is up to 64 letters, digits, _ and -, and starts with a letter");
            else
                schema.read(item.value, item_path, (target.*member)[item.key], log);
        }
    };
    entry.write = [member, &schema](const T& value) {
        YamlNode node = YamlNode::map();
        for (const auto& [key, item] : value.*member) node.add(key, schema.write(item));
        return node;
    };
    entry.describe = [&schema, spec](const std::string& path, SchemaDocs& docs) {
        docs.keys.push_back({path, "map by name", spec.required ? "required" : "{}", spec.help, "",
                             spec.aliases, spec.changes_numbers});
        schema.describe(path + ".NAME", docs);
    };
    entries_.push_back(std::move(entry));
    return *this;
}

template <typename T>
template <typename S>
Schema<T>& Schema<T>::list(const std::string& name, std::vector<S> T::*member, const Schema<S>& schema,
                           KeySpec spec) {
    Entry entry;
    entry.name = name;
    entry.required = spec.required;
    entry.read = [member, &schema](const YamlNode& node, const std::string& path, T& target, ReadLog& log) {
        if (!node.is_list()) return log.fail(node.location, path, "expected a list, found " + node.shown());
        for (size_t i = 0; i < node.items.size(); ++i) {
            const std::string item_path = join_path(path, std::to_string(i));
            log.given[item_path] = node.items[i].location;
            schema.read(node.items[i], item_path, (target.*member).emplace_back(), log);
        }
    };
    entry.write = [member, &schema](const T& value) {
        YamlNode node = YamlNode::list();
        for (const S& item : value.*member) node.items.push_back(schema.write(item));
        return node;
    };
    entry.describe = [&schema, spec](const std::string& path, SchemaDocs& docs) {
        docs.keys.push_back({path, "list of maps", spec.required ? "required" : "[]", spec.help, "",
                             spec.aliases, spec.changes_numbers});
        schema.describe(path + ".N", docs);
    };
    entries_.push_back(std::move(entry));
    return *this;
}

template <typename T>
template <NamedEnum E, typename... As>
Schema<T>& Schema<T>::alternatives(const std::string& name, std::variant<As...> T::*member, E, KeySpec spec,
                                   const Schema<As>&... schemas) {
    static_assert(enum_names(E{}).size() == sizeof...(As));
    type_key_ = name;
    Entry entry;
    entry.name = name;
    entry.required = true;
    entry.read = [=](const YamlNode& node, const std::string& path, T& target, ReadLog& log) {
        static const std::array<std::variant<As...>, sizeof...(As)> kinds{As{}...};
        try {
            target.*member = kinds[static_cast<size_t>(ConfigValue<E>::read(node, spec))];
        } catch (const ValueFault& fault) {
            log.fail(node.location, path, fault.what());
        }
    };
    entry.write = [=](const T& value) {
        return ConfigValue<E>::write(static_cast<E>((value.*member).index()), spec);
    };
    entry.describe = [=](const std::string& path, SchemaDocs& docs) {
        docs.keys.push_back(
            {path, ConfigValue<E>::accepts(spec), "required", spec.help, "", spec.aliases, true});
    };
    entries_.push_back(std::move(entry));
    size_t index = 0;
    (mount<As>(member, std::string(to_string(static_cast<E>(index++))), schemas), ...);
    return *this;
}

template <typename T>
template <typename A, typename Variant>
void Schema<T>::mount(Variant T::*member, const std::string& type, const Schema<A>& schema) {
    const auto is_this = [member](const T& value) { return std::holds_alternative<A>(value.*member); };
    for (const auto& inner : schema.entries_) {
        Entry entry;
        entry.name = inner.name;
        entry.required = inner.required;
        entry.applies = is_this;
        entry.only_for = type;
        entry.read = [=, read = inner.read](const YamlNode& node, const std::string& path, T& target,
                                            ReadLog& log) {
            read(node, path, std::get<A>(target.*member), log);
        };
        entry.write = [=, write = inner.write](const T& value) { return write(std::get<A>(value.*member)); };
        entry.describe = [=, describe = inner.describe](const std::string& path, SchemaDocs& docs) {
            const size_t first = docs.keys.size();
            describe(path, docs);
            for (size_t i = first; i < docs.keys.size(); ++i) docs.keys[i].only_for = type;
        };
        entries_.push_back(std::move(entry));
    }
    for (const auto& inner : schema.pointless_)
        pointless_.push_back({inner.key, inner.why, [=, holds = inner.holds](const T& value) {
                                  return is_this(value) && holds(std::get<A>(value.*member));
                              }});
    for (const auto& [text, inner] : schema.rules_)
        rules_.emplace_back(type + ": " + text, [=, check = inner](const T& value, SectionCheck& section) {
            if (is_this(value)) check(std::get<A>(value.*member), section);
        });
    for (const auto& inner : schema.finish_)
        finish_.push_back([=](T& value, SectionCheck& section) {
            if (is_this(value)) inner(std::get<A>(value.*member), section);
        });
    not_built_.insert(schema.not_built_.begin(), schema.not_built_.end());
}

template <typename T>
Schema<T>& Schema<T>::count(const std::string& name, KeySpec spec) {
    Entry entry;
    entry.name = name;
    entry.read = [=](const YamlNode& node, const std::string& path, T&, ReadLog& log) {
        try {
            log.counts[path] = read_integer(node, spec);
        } catch (const ValueFault& fault) {
            log.fail(node.location, path, fault.what());
        }
    };
    entry.describe = [=](const std::string& path, SchemaDocs& docs) {
        docs.keys.push_back({path, ConfigValue<int64_t>::accepts(spec), "none", spec.help, "", spec.aliases,
                             spec.changes_numbers});
    };
    entries_.push_back(std::move(entry));
    return *this;
}

template <typename T>
Schema<T>& Schema<T>::documented(const std::string& name, const std::string& accepts,
                                 const std::string& help) {
    Entry entry;
    entry.name = name;
    entry.read = [](const YamlNode&, const std::string&, T&, ReadLog&) {};
    entry.describe = [=](const std::string& path, SchemaDocs& docs) {
        docs.keys.push_back({path, accepts, "none", help, "", {}, true});
    };
    entries_.push_back(std::move(entry));
    return *this;
}

template <typename T>
Schema<T>& Schema<T>::not_built(std::vector<std::string> names) {
    not_built_.insert(names.begin(), names.end());
    return *this;
}

template <typename T>
Schema<T>& Schema<T>::pointless(const std::string& key, const std::string& why,
                                std::function<bool(const T&)> holds) {
    pointless_.push_back({key, why, std::move(holds)});
    return *this;
}

template <typename T>
Schema<T>& Schema<T>::rule(const std::string& text, std::function<void(const T&, SectionCheck&)> check) {
    rules_.emplace_back(text, std::move(check));
    return *this;
}

template <typename T>
Schema<T>& Schema<T>::finish(std::function<void(T&, SectionCheck&)> fill) {
    finish_.push_back(std::move(fill));
    return *this;
}

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
    if (!node.is_map()) return log.fail(node.location, path, "expected a map, found " + node.shown());
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
            log.fail(node.location, join_path(path, entry.name), "required, and left out");
    }
    if (log.num_faults() > num_faults) return;
    SectionCheck section(path, log);
    for (const auto& fill : finish_) fill(target, section);
    if (log.num_faults() == num_faults) check_rules(node, path, target, log);
}

template <typename T>
void Schema<T>::check_rules(const YamlNode& node, const std::string& path, const T& target,
                            ReadLog& log) const {
    for (const Pointless& rule : pointless_) {
        const std::string key = join_path(path, rule.key);
        if (node.find(rule.key) && rule.holds(target))
            log.fail(log.location_of(key), key,
                     fmt::format("has no effect: {}; remove it ({}=null)", rule.why, key));
    }
    SectionCheck section(path, log);
    for (const auto& [text, check] : rules_) {
        if (check) check(target, section);
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
    for (const auto& [text, check] : rules_) docs.rules.push_back({prefix, text});
}

} // namespace braid
