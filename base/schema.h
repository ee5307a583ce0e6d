#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/any_struct.h"
#include "base/config_value.h"
#include "base/schema_log.h"

namespace braid {

/// What a user can put into a file for the struct T: every key once, with the member it fills, its range, its
/// default (that of T) and its documentation; and the rules between keys. Reading, writing, `braid config
/// keys`, docs/config.md and the suggestions for misspelt keys all follow from it.
template <typename T>
class Schema {
  public:
    /// A single value. The types are those of ConfigValue. Kept out of line, as a file of keys would
    /// otherwise take the compiler three times as long.
    template <typename V>
    [[gnu::noinline]] Schema& key(std::string_view name, V T::*member, const KeySpec& spec);

    /// A nested struct.
    template <typename S>
    Schema& section(const std::string& name, S T::*member, const Schema<S>& schema, const std::string& help,
                    bool required = false);

    /// Structs by a name that the user chooses (letters, digits, _ and -), shown as `placeholder`.
    template <typename S>
    Schema& map(const std::string& name, std::map<std::string, S> T::*member, const Schema<S>& schema,
                KeySpec spec);

    /// A list of structs.
    template <typename S>
    Schema& list(const std::string& name, std::vector<S> T::*member, const Schema<S>& schema, KeySpec spec);

    /// A key that says which struct `member` holds: the types by name, and what their keys start from.
    Schema& type_key(const std::string& name, AnyStruct T::*member,
                     const std::vector<std::pair<std::string, AnyStruct>>& types, const KeySpec& spec);
    /// The keys of one of these types, which stand beside the key that names it.
    template <typename A>
    Schema& alternative(const std::string& type, AnyStruct T::*member, const Schema<A>& schema);

    /// A count that fills no member: ReadLog::counts holds it by full path, for a later step to resolve.
    Schema& count(const std::string& name, KeySpec spec);
    /// A key that is gone by the time of reading, such as extends: documented and suggested only.
    Schema& documented(const std::string& name, const std::string& accepts, const std::string& help);
    /// Keys that are planned, and refused until they work.
    Schema& not_built(std::vector<std::string> names);

    /// `key` may not be given where `holds`; `why` completes the sentence "has no effect: ...". The resolved
    /// file leaves the key out there.
    Schema& pointless(const std::string& key, const std::string& why, std::function<bool(const T&)> holds);
    /// A check across keys; `text` states it for the docs. Runs only when the keys themselves are fine. A
    /// rule that a finish function enforces has no check of its own. With `needs`, faults elsewhere than in
    /// these keys of the section do not keep it from running.
    Schema& rule(const std::string& text, std::function<void(const T&, SectionCheck&)> check,
                 std::vector<std::string> needs = {});
    /// Fills members that depend on other keys, before the rules run.
    Schema& finish(std::function<void(T&, SectionCheck&)> fill, std::vector<std::string> needs = {});
    /// How such a map is written, as "{type: rms}", for messages about what is none.
    Schema& example(std::string_view text);

    /// Fills `target` from a map; faults go to the log with their place.
    void read(const YamlNode& node, const std::string& path, T& target, ReadLog& log) const;
    /// The map that reads back as `value`: every key but the pointless ones.
    YamlNode write(const T& value) const;
    /// All keys and rules below `prefix`, in declared order.
    void describe(const std::string& prefix, SchemaDocs& docs) const;

  private:
    template <typename>
    friend class Schema;

    struct Entry {
        std::string name;
        bool required = false;
        std::string_view example = {}; // how its list or map is written
        std::function<void(const YamlNode&, const std::string& path, T&, ReadLog&)> read;
        std::function<YamlNode(const T&)> write;
        std::function<void(const std::string& path, SchemaDocs&)> describe;
        std::function<bool(const T&)> applies; // empty: always
        std::string only_for;
    };
    struct Pointless {
        std::string key, why;
        std::function<bool(const T&)> holds;
    };

    struct Rule {
        std::string text;
        std::function<void(const T&, SectionCheck&)> check; // may be empty
        std::vector<std::string> needs;                     // empty: the whole section
    };
    struct Finish {
        std::function<void(T&, SectionCheck&)> fill;
        std::vector<std::string> needs;
    };

    const Entry* find(const std::string& name, const T& target, std::string& other_type) const;
    void read_entry(const YamlEntry& given, const std::string& path, T& target, ReadLog& log) const;
    void check_pointless(const YamlNode& node, const std::string& path, const T& target, ReadLog& log) const;

    std::vector<Entry> entries_;
    std::string type_key_; // the one of type_key(), read before the others
    std::set<std::string> not_built_;
    std::vector<Pointless> pointless_;
    std::vector<Rule> rules_;
    std::vector<Finish> finish_;
    std::string_view example_;
};

} // namespace braid

#include "base/schema_alternatives.h"
#include "base/schema_declare.h"
#include "base/schema_read.h"
