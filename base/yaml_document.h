#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace braid {

/// Where a piece of a config came from: a file with line and column from 1, or "override 2" with neither.
struct Location {
    std::shared_ptr<const std::string> source;
    int line = 0;
    int column = 0;

    std::string text() const;
};

struct YamlEntry;

/// A YAML value with its place in the source. Scalars keep their text: what it means is for the schema to
/// say.
struct YamlNode {
    enum class Kind : uint8_t { null, scalar, list, map };

    Kind kind = Kind::null;
    std::string scalar;
    bool quoted = false; // quoted or block text: never a number or a truth value
    std::vector<YamlNode> items;
    std::vector<YamlEntry> entries; // in file order, keys distinct
    Location location;

    static YamlNode plain(std::string text);
    /// Quoted where a YAML reader would take the text for something else.
    static YamlNode string(std::string text);
    static YamlNode list();
    static YamlNode map();

    bool is_null() const { return kind == Kind::null; }
    bool is_scalar() const { return kind == Kind::scalar; }
    bool is_list() const { return kind == Kind::list; }
    bool is_map() const { return kind == Kind::map; }
    /// The value of `key` in a map, or nullptr.
    const YamlNode* find(std::string_view key) const;
    YamlNode* find(std::string_view key);
    void add(std::string key, YamlNode value);
    void remove(std::string_view key);
    /// For messages: the scalar as written, or "a list", "a map", "nothing".
    std::string shown() const;
};

struct YamlEntry {
    std::string key;
    Location location;
    YamlNode value;
};

/// What keeps hostile input from taking time, stack or memory.
inline constexpr int64_t kMaxYamlBytes = int64_t{1} << 20;
inline constexpr int kMaxYamlDepth = 32;
inline constexpr int kMaxYamlNodes = 20'000;

/// Parses one YAML document. Strict: no anchor, alias, merge key, tag, duplicate key or second document; text
/// is UTF-8. Throws ConfigError with `source`, line and column.
YamlNode parse_yaml(std::string_view text, const std::string& source);

/// The block-style text of a document; any YAML 1.1 or 1.2 reader gives back the same values.
std::string to_yaml(const YamlNode& node);

/// The text of a value on one line.
std::string to_flow_yaml(const YamlNode& node);

/// Gives a whole tree one place, for values that come from no file.
void relocate(YamlNode& node, const Location& location);

/// Lays `over` on `base`: maps merge, everything else replaces, null deletes. A null that deletes nothing is
/// a fault: its location and key path go to `faults`.
struct YamlMergeFault {
    Location location;
    std::string key;
};
void merge_yaml(YamlNode& base, const YamlNode& over, std::vector<YamlMergeFault>& faults,
                const std::string& path = "");

} // namespace braid
