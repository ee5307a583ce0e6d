#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/enum_names.h"
#include "base/yaml_document.h"

namespace braid {

/// A few words that live as long as the program.
struct LiteralWords {
    std::array<std::string_view, 8> words = {}; // unused ones are empty

    const std::string_view* begin() const { return words.data(); }
    const std::string_view* end() const { return std::find(words.begin(), words.end(), std::string_view()); }
};

/// Everything a config key declares about itself, besides its name and the member it fills. All text is
/// literal: a spec that owned memory would make the files that declare keys slow to compile.
struct KeySpec {
    std::string_view help = {};
    std::optional<double> min = std::nullopt;   // smallest value
    std::optional<double> above = std::nullopt; // values are greater than this
    std::optional<double> max = std::nullopt;   // largest value
    std::optional<double> below = std::nullopt; // values are smaller than this
    bool required = false;
    bool counts_tokens = false;         // may be written 500M or 20B
    bool joins_list = false;            // a list of texts is joined with ", "
    std::string_view zero_word = {};    // how 0 is written: "auto"
    std::string_view default_text = {}; // for the docs, where the default depends on other keys
    LiteralWords aliases = {};          // what other frameworks call it; only used for suggestions
    bool changes_numbers = true;        // false: a run may resume with another value
    LiteralWords not_built = {};        // values that are planned, and refused until they work
    std::string_view synonyms = {};     // "fp32=f32 float=f32": other names of values, only for suggestions
    std::string_view example = {};      // how a list or a map is written, for messages
};

/// A value that its key does not take: "expected a whole number, at least 1, found 0".
class ValueFault : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// Readers of single values. They throw ValueFault. Numbers are base 10 and finite; text keeps what was
// written.
int64_t read_integer(const YamlNode& node, const KeySpec& spec);
uint64_t read_seed(const YamlNode& node);
double read_number(const YamlNode& node, const KeySpec& spec);
bool read_flag(const YamlNode& node);
std::string read_text(const YamlNode& node, const KeySpec& spec);
size_t read_choice(const YamlNode& node, const std::vector<std::string>& names, const KeySpec& spec);

/// Whole numbers written as numbers and ranges, "0-2, 5": sorted, distinct, from 0 to kMaxIndex.
std::vector<int64_t> parse_indices(std::string_view text);
inline constexpr int64_t kMaxIndex = 9'999;

/// A number a YAML 1.1 reader takes for a float: always with a point, exact to the last bit.
std::string write_number(double value);
/// ", for example [0.9, 0.95]" or "".
std::string example_note(std::string_view example);
/// "a whole number, at least 1".
std::string describe_range(std::string noun, const KeySpec& spec);

/// How the type V of a struct member is read, written and described.
template <typename V>
struct ConfigValue;

template <>
struct ConfigValue<int64_t> {
    static int64_t read(const YamlNode& node, const KeySpec& spec) {
        if (!spec.zero_word.empty() && node.is_scalar() && node.scalar == spec.zero_word) return 0;
        return read_integer(node, spec);
    }
    static YamlNode write(int64_t value, const KeySpec& spec) {
        return YamlNode::plain(value == 0 && !spec.zero_word.empty() ? std::string(spec.zero_word)
                                                                     : std::to_string(value));
    }
    static std::string accepts(const KeySpec& spec) { return describe_range("whole number", spec); }
};

template <>
struct ConfigValue<uint64_t> {
    static uint64_t read(const YamlNode& node, const KeySpec&) { return read_seed(node); }
    static YamlNode write(uint64_t value, const KeySpec&) { return YamlNode::plain(std::to_string(value)); }
    static std::string accepts(const KeySpec&) { return "whole number, at least 0"; }
};

template <>
struct ConfigValue<double> {
    static double read(const YamlNode& node, const KeySpec& spec) { return read_number(node, spec); }
    static YamlNode write(double value, const KeySpec&) { return YamlNode::plain(write_number(value)); }
    static std::string accepts(const KeySpec& spec) { return describe_range("number", spec); }
};

template <>
struct ConfigValue<bool> {
    static bool read(const YamlNode& node, const KeySpec&) { return read_flag(node); }
    static YamlNode write(bool value, const KeySpec&) { return YamlNode::plain(value ? "true" : "false"); }
    static std::string accepts(const KeySpec&) { return "true or false"; }
};

template <>
struct ConfigValue<std::string> {
    static std::string read(const YamlNode& node, const KeySpec& spec) { return read_text(node, spec); }
    static YamlNode write(const std::string& value, const KeySpec&) { return YamlNode::string(value); }
    static std::string accepts(const KeySpec& spec) {
        return spec.joins_list ? "text or list of texts" : "text";
    }
};

template <NamedEnum E>
struct ConfigValue<E> {
    static std::vector<std::string> names() {
        const auto all = enum_names(E{});
        return {all.begin(), all.end()};
    }
    static E read(const YamlNode& node, const KeySpec& spec) {
        return static_cast<E>(read_choice(node, names(), spec));
    }
    static YamlNode write(E value, const KeySpec&) { return YamlNode::string(std::string(to_string(value))); }
    static std::string accepts(const KeySpec&) {
        std::string text;
        for (const std::string& name : names()) text += (text.empty() ? "" : "|") + name;
        return text;
    }
};

/// The precisions a run can compute in.
template <>
struct ConfigValue<DType> {
    static DType read(const YamlNode& node, const KeySpec& spec) {
        constexpr DType kPrecisions[] = {DType::f32, DType::bf16, DType::f64};
        return kPrecisions[read_choice(node, {"f32", "bf16", "f64"}, spec)];
    }
    static YamlNode write(DType value, const KeySpec&) {
        return YamlNode::plain(std::string(name_of(value)));
    }
    static std::string accepts(const KeySpec&) { return "f32|bf16|f64"; }
};

template <typename V>
struct ConfigValue<std::optional<V>> {
    static std::optional<V> read(const YamlNode& node, const KeySpec& spec) {
        return ConfigValue<V>::read(node, spec);
    }
    static YamlNode write(const std::optional<V>& value, const KeySpec& spec) {
        return value ? ConfigValue<V>::write(*value, spec) : YamlNode{};
    }
    static std::string accepts(const KeySpec& spec) { return ConfigValue<V>::accepts(spec); }
};

/// A list of values; one value alone is a list of one.
template <typename V>
struct ConfigValue<std::vector<V>> {
    static std::vector<V> read(const YamlNode& node, const KeySpec& spec) {
        if (!node.is_list()) return {ConfigValue<V>::read(node, spec)};
        std::vector<V> values;
        for (const YamlNode& item : node.items) values.push_back(ConfigValue<V>::read(item, spec));
        return values;
    }
    static YamlNode write(const std::vector<V>& values, const KeySpec& spec) {
        YamlNode node = YamlNode::list();
        for (const V& value : values) node.items.push_back(ConfigValue<V>::write(value, spec));
        return values.empty() ? YamlNode{} : node;
    }
    static std::string accepts(const KeySpec& spec) { return "list of " + ConfigValue<V>::accepts(spec); }
};

template <typename V, size_t N>
struct ConfigValue<std::array<V, N>> {
    static std::array<V, N> read(const YamlNode& node, const KeySpec& spec) {
        if (!node.is_list() || node.items.size() != N)
            throw ValueFault(
                fmt::format("expected a list of {} values{}, found {}", N, example_note(spec.example),
                            node.is_list() ? fmt::format("{}", node.items.size()) : node.shown()));
        std::array<V, N> values;
        for (size_t i = 0; i < N; ++i) values[i] = ConfigValue<V>::read(node.items[i], spec);
        return values;
    }
    static YamlNode write(const std::array<V, N>& values, const KeySpec& spec) {
        YamlNode node = YamlNode::list();
        for (const V& value : values) node.items.push_back(ConfigValue<V>::write(value, spec));
        return node;
    }
    static std::string accepts(const KeySpec& spec) {
        return fmt::format("list of {}, each a {}", N, ConfigValue<V>::accepts(spec));
    }
};

/// Indices as a list of numbers or as text of ranges.
template <>
struct ConfigValue<std::vector<int64_t>> {
    static std::vector<int64_t> read(const YamlNode& node, const KeySpec&);
    static YamlNode write(const std::vector<int64_t>& values, const KeySpec& spec);
    static std::string accepts(const KeySpec&) { return "numbers and ranges, such as 0-2, 5"; }
};

/// Text to YAML text, as in a layer's `set`: values of any kind, kept as they are written.
template <>
struct ConfigValue<std::map<std::string, std::string>> {
    static std::map<std::string, std::string> read(const YamlNode& node, const KeySpec&);
    static YamlNode write(const std::map<std::string, std::string>& values, const KeySpec&);
    static std::string accepts(const KeySpec&) { return "map of values"; }
};

} // namespace braid
