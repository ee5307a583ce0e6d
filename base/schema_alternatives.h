#pragma once

// How a section whose type decides its keys is declared: the definitions of Schema::alternatives and what it
// needs; included by base/schema.h only.

#include "base/schema.h"

namespace braid {

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
        docs.keys.push_back(KeyDoc::of(path, ConfigValue<E>::accepts(spec), "required", spec));
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
        entry.example = inner.example;
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
    for (const auto& inner : schema.rules_)
        rule(
            type + ": " + inner.text,
            [=, check = inner.check](const T& value, SectionCheck& section) {
                if (is_this(value)) check(std::get<A>(value.*member), section);
            },
            inner.needs);
    for (const auto& inner : schema.finish_)
        finish(
            [=, fill = inner.fill](T& value, SectionCheck& section) {
                if (is_this(value)) fill(std::get<A>(value.*member), section);
            },
            inner.needs);
    not_built_.insert(schema.not_built_.begin(), schema.not_built_.end());
}

} // namespace braid
