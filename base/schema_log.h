#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/config_value.h"
#include "base/yaml_document.h"

namespace braid {

inline std::string join_path(const std::string& path, const std::string& key) {
    return path.empty() ? key : path + "." + key;
}

/// Whether a user may give something this name: up to 64 letters, digits, _ and -, not starting with a digit
/// or -.
bool is_config_name(const std::string& name);

/// One key as the documentation lists it.
struct KeyDoc {
    std::string path; // "model.sublayers.NAME.num_heads"; capitals stand for a name or number of the user's
    std::string accepts;
    std::string default_text; // "required", "none" or the value
    std::string help;
    std::string only_for; // the sublayer type it belongs to, or ""
    std::vector<std::string> aliases;
    bool changes_numbers = true;

    /// The documentation of the key `path`; what the spec leaves open is given.
    static KeyDoc of(const std::string& path, std::string accepts, std::string default_text,
                     const KeySpec& spec);
};

struct RuleDoc {
    std::string path; // of the section that it checks
    std::string text;
};

struct SchemaDocs {
    std::vector<KeyDoc> keys;
    std::vector<RuleDoc> rules;

    /// The key that a concrete path such as "model.sublayers.attn.window" stands for, or nullptr.
    const KeyDoc* find(const std::string& path) const;
};

/// What reading a file found out besides the values.
struct ReadLog {
    struct Fault {
        Location location;
        std::string key;
        std::string message;
    };
    struct Unknown {
        Location location;
        std::string path;
        std::vector<std::string> siblings; // the keys this section has
    };

    std::vector<Fault> faults;
    std::vector<Unknown> unknown;
    std::map<std::string, Location> given; // every key of the file, by full path
    std::map<std::string, int64_t> counts; // the values of Schema::count keys
    std::string source;                    // the file, where a default depends on its name

    void fail(const Location& location, const std::string& key, const std::string& message) {
        faults.push_back({location, key, message});
    }
    size_t num_faults() const { return faults.size() + unknown.size(); }
    bool has(const std::string& path) const { return given.contains(path); }
    /// Whether no fault lies in this key or below it.
    bool is_sound(const std::string& path) const;
    /// The place of a key, or of the section around it when the key was left out.
    Location location_of(const std::string& path) const;

    /// One line per fault, in file order; "" where there is none. Unknown keys get a suggestion from all keys
    /// there are; `root` tells which sublayers the file has.
    std::string fault_lines(const SchemaDocs& docs, const YamlNode& root) const;
    /// Throws them as a ConfigError where there are any.
    void throw_faults(const SchemaDocs& docs, const YamlNode& root) const;
};

/// What a rule sees of its section; keys are relative to it.
class SectionCheck {
  public:
    SectionCheck(const std::string& path, ReadLog& log) : path_(path), log_(log) {}

    bool given(const std::string& key) const { return log_.has(full(key)); }
    /// The value of a Schema::count key that was given.
    int64_t count(const std::string& key) const { return log_.counts.at(full(key)); }
    const std::string& source() const { return log_.source; }
    void fail(const std::string& key, const std::string& message) {
        log_.fail(log_.location_of(full(key)), full(key), message);
    }

  private:
    std::string full(const std::string& key) const { return join_path(path_, key); }

    std::string path_;
    ReadLog& log_;
};

} // namespace braid
