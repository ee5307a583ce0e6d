#pragma once

// How a section whose type decides its keys is declared: the definitions of Schema::type_key and
// Schema::alternative; included by base/schema.h only.

#include "base/schema.h"

namespace braid {

template <typename T>
Schema<T>& Schema<T>::type_key(const std::string& name, AnyStruct T::*member,
                               const std::vector<std::pair<std::string, AnyStruct>>& types,
                               const KeySpec& spec) {
    type_key_ = name;
    std::vector<std::string> names;
    for (const auto& [type, initial] : types) names.push_back(type);
    Entry entry;
    entry.name = name;
    entry.required = true;
    entry.read = [=](const YamlNode& node, const std::string& path, T& target, ReadLog& log) {
        try {
            target.*member = types[read_choice(node, names, spec)].second;
        } catch (const ValueFault& fault) {
            log.fail(node.location, path, fault.what());
        }
    };
    entry.write = [=](const T& value) {
        for (const auto& [type, initial] : types)
            if ((value.*member).has_type_of(initial)) return YamlNode::string(type);
        throw InternalError("{}: a type that no file can name", name);
    };
    entry.describe = [=](const std::string& path, SchemaDocs& docs) {
        std::string accepts;
        for (const std::string& type : names) accepts += (accepts.empty() ? "" : "|") + type;
        docs.keys.push_back(KeyDoc::of(path, accepts, "required", spec));
    };
    entries_.push_back(std::move(entry));
    return *this;
}

template <typename T>
template <typename A>
Schema<T>& Schema<T>::alternative(const std::string& type, AnyStruct T::*member, const Schema<A>& schema) {
    const auto is_this = [member](const T& value) { return (value.*member).template get_if<A>() != nullptr; };
    for (const auto& inner : schema.entries_) {
        Entry entry;
        entry.name = inner.name;
        entry.required = inner.required;
        entry.example = inner.example;
        entry.applies = is_this;
        entry.only_for = type;
        entry.read = [=, read = inner.read](const YamlNode& node, const std::string& path, T& target,
                                            ReadLog& log) {
            read(node, path, (target.*member).template get<A>(), log);
        };
        entry.write = [=, write = inner.write](const T& value) {
            return write((value.*member).template get<A>());
        };
        entry.describe = [=, describe = inner.describe](const std::string& path, SchemaDocs& docs) {
            const size_t first = docs.keys.size();
            describe(path, docs);
            for (size_t i = first; i < docs.keys.size(); ++i) docs.keys[i].only_for = type;
        };
        entries_.push_back(std::move(entry));
    }
    for (const auto& inner : schema.pointless_)
        pointless_.push_back({inner.key, inner.why, [=, holds = inner.holds](const T& value) {
                                  return is_this(value) && holds((value.*member).template get<A>());
                              }});
    for (const auto& inner : schema.rules_)
        rule(
            type + ": " + inner.text,
            [=, check = inner.check](const T& value, SectionCheck& section) {
                if (is_this(value)) check((value.*member).template get<A>(), section);
            },
            inner.needs);
    for (const auto& inner : schema.finish_)
        finish(
            [=, fill = inner.fill](T& value, SectionCheck& section) {
                if (is_this(value)) fill((value.*member).template get<A>(), section);
            },
            inner.needs);
    not_built_.insert(schema.not_built_.begin(), schema.not_built_.end());
    return *this;
}

} // namespace braid
