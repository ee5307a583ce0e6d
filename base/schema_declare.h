#pragma once

// How keys are declared: the definitions of Schema's building members; included by base/schema.h only.

#include <algorithm>

#include "base/schema.h"

namespace braid {

template <typename T>
template <typename V>
Schema<T>& Schema<T>::key(std::string_view name, V T::*member, const KeySpec& spec) {
    Entry entry;
    entry.name = name;
    entry.required = spec.required;
    entry.example = spec.example;
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
        std::string text(spec.required ? "required" : spec.default_text);
        if (text.empty()) text = standard.is_null() ? "none" : to_flow_yaml(standard);
        docs.keys.push_back(KeyDoc::of(path, ConfigValue<V>::accepts(spec), std::move(text), spec));
    };
    entries_.push_back(std::move(entry));
    return *this;
}

template <typename T>
template <typename S>
Schema<T>& Schema<T>::section(const std::string& name, S T::*member, const Schema<S>& schema,
                              const std::string& help, bool required) {
    Entry entry;
    entry.name = name;
    entry.required = required;
    entry.example = schema.example_;
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
    entry.example = spec.example;
    entry.read = [=, &schema](const YamlNode& node, const std::string& path, T& target, ReadLog& log) {
        if (!node.is_map())
            return log.fail(
                node.location, path,
                fmt::format("expected a map{}, found {}", example_note(spec.example), node.shown()));
        for (const YamlEntry& item : node.entries) {
            const std::string item_path = join_path(path, item.key);
            log.given[item_path] = item.location;
            if (!is_config_name(item.key))
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
        docs.keys.push_back(KeyDoc::of(path, "map by name", spec.required ? "required" : "{}", spec));
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
    entry.example = spec.example;
    entry.read = [=, &schema](const YamlNode& node, const std::string& path, T& target, ReadLog& log) {
        if (!node.is_list())
            return log.fail(
                node.location, path,
                fmt::format("expected a list{}, found {}", example_note(spec.example), node.shown()));
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
        docs.keys.push_back(KeyDoc::of(path, "list of maps", spec.required ? "required" : "[]", spec));
        schema.describe(path + ".N", docs);
    };
    entries_.push_back(std::move(entry));
    return *this;
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
        docs.keys.push_back(KeyDoc::of(path, ConfigValue<int64_t>::accepts(spec), "none", spec));
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
Schema<T>& Schema<T>::rule(const std::string& text, std::function<void(const T&, SectionCheck&)> check,
                           std::vector<std::string> needs) {
    rules_.push_back({text, std::move(check), std::move(needs)});
    return *this;
}

template <typename T>
Schema<T>& Schema<T>::finish(std::function<void(T&, SectionCheck&)> fill, std::vector<std::string> needs) {
    finish_.push_back({std::move(fill), std::move(needs)});
    return *this;
}

template <typename T>
Schema<T>& Schema<T>::example(std::string_view text) {
    example_ = text;
    return *this;
}

} // namespace braid
