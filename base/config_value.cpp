#include "base/config_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "base/suggest.h"

namespace braid {

namespace {

bool all_digits(std::string_view text) {
    return !text.empty() &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// True for what both YAML and this program read as a base-10 number, such as -12.5e3.
bool is_decimal(std::string_view text) {
    if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
    const size_t exponent = text.find_first_of("eE");
    std::string_view mantissa = text.substr(0, exponent);
    if (exponent != std::string_view::npos) {
        std::string_view power = text.substr(exponent + 1);
        if (power.starts_with('-') || power.starts_with('+')) power.remove_prefix(1);
        if (!all_digits(power)) return false;
    }
    const size_t point = mantissa.find('.');
    const std::string_view whole = mantissa.substr(0, point);
    const std::string_view part = point == std::string_view::npos ? "" : mantissa.substr(point + 1);
    if (whole.size() > 1 && whole[0] == '0') return false; // octal to a YAML 1.1 reader
    return (whole.empty() || all_digits(whole)) && (part.empty() || all_digits(part)) &&
           !(whole.empty() && part.empty());
}

[[noreturn]] void fail(const std::string& expected, const YamlNode& node, const std::string& note = "") {
    throw ValueFault(fmt::format("expected {}, found {}{}", expected, node.shown(), note));
}

/// The power of ten behind a size letter, or 0.
int64_t size_unit(char letter) {
    switch (letter) {
        case 'K':
            return 1'000;
        case 'M':
            return 1'000'000;
        case 'B':
            return 1'000'000'000;
        case 'T':
            return 1'000'000'000'000;
        default:
            return 0;
    }
}

double parse_decimal(std::string_view text) {
    if (text.starts_with('+')) text.remove_prefix(1);
    double value = std::numeric_limits<double>::quiet_NaN();
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    // An overflow leaves the value alone; an underflow too, and is as useless as a setting.
    if (result.ec != std::errc() || result.ptr != text.data() + text.size())
        return std::numeric_limits<double>::quiet_NaN();
    return value;
}

bool in_range(double value, const KeySpec& spec) {
    return !(spec.min && value < *spec.min) && !(spec.above && value <= *spec.above) &&
           !(spec.max && value > *spec.max) && !(spec.below && value >= *spec.below);
}

/// "; did you mean 1000?" for 1e3, 1000.0, 1_000 and 1,000.
std::string whole_number_note(std::string_view text) {
    std::string plain(text.substr(0, 40));
    std::erase_if(plain, [](char c) { return c == '_' || c == ','; });
    if (!is_decimal(plain)) return "";
    const double value = parse_decimal(plain);
    if (!(std::abs(value) < 0x1p53) || value != std::floor(value)) return "";
    return fmt::format("; did you mean {}?", static_cast<int64_t>(value));
}

std::string size_note(const YamlNode& node, const KeySpec& spec) {
    const std::string_view text = node.scalar;
    if (!node.is_scalar() || text.size() < 2 || !is_decimal(text.substr(0, text.size() - 1))) return "";
    if (spec.counts_tokens) return "; sizes are written with K, M, B or T, powers of 1000";
    if (size_unit(text.back()) == 0 && size_unit(static_cast<char>(std::toupper(text.back()))) == 0)
        return "";
    return "; only keys that count tokens take sizes like 20B: write the number out";
}

} // namespace

std::string describe_range(std::string noun, const KeySpec& spec) {
    const auto bound = [](double value) {
        return value == std::floor(value) ? fmt::format("{:.0f}", value) : fmt::format("{}", value);
    };
    std::string text = std::move(noun);
    if (spec.counts_tokens) text += " (or a size like 20B)";
    if (spec.min && spec.max) {
        text += fmt::format(" from {} to {}", bound(*spec.min), bound(*spec.max));
    } else {
        if (spec.min) text += fmt::format(", at least {}", bound(*spec.min));
        if (spec.above) text += fmt::format(", above {}", bound(*spec.above));
        if (spec.max) text += fmt::format(", at most {}", bound(*spec.max));
    }
    if (spec.below) text += fmt::format(", below {}", bound(*spec.below));
    if (!spec.zero_word.empty()) text += fmt::format(", or {}", spec.zero_word);
    return text;
}

int64_t read_integer(const YamlNode& node, const KeySpec& spec) {
    const std::string expected = "a " + describe_range("whole number", spec);
    if (!node.is_scalar() || node.quoted) fail(expected, node);
    std::string_view text = node.scalar;
    const int64_t unit = spec.counts_tokens && !text.empty() ? size_unit(text.back()) : 0;
    if (unit != 0) text.remove_suffix(1);
    if (!is_decimal(text))
        fail(expected, node, size_note(node, spec) + (unit == 0 ? whole_number_note(text) : ""));
    const bool is_whole = text.find_first_of(".eE") == std::string_view::npos;
    if (!is_whole && unit == 0) fail(expected, node, whole_number_note(text));
    int64_t value = 0;
    if (is_whole) {
        if (text.starts_with('+')) text.remove_prefix(1);
        const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
        if (result.ec != std::errc() || (unit != 0 && __builtin_mul_overflow(value, unit, &value)))
            fail(expected, node, "; it does not fit 64 bits");
    } else {
        const double scaled = parse_decimal(text) * static_cast<double>(unit);
        if (!(std::abs(scaled) < 0x1p53) || scaled != std::floor(scaled)) fail(expected, node);
        value = static_cast<int64_t>(scaled);
    }
    if (!in_range(static_cast<double>(value), spec)) fail(expected, node);
    return value;
}

uint64_t read_seed(const YamlNode& node) {
    uint64_t value = 0;
    const std::string& text = node.scalar;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool is_number = node.is_scalar() && !node.quoted && all_digits(text) && is_decimal(text);
    if (!is_number || result.ec != std::errc()) fail("a whole number from 0 to 18446744073709551615", node);
    return value;
}

double read_number(const YamlNode& node, const KeySpec& spec) {
    const std::string expected = "a " + describe_range("number", spec);
    if (!node.is_scalar() || node.quoted || !is_decimal(node.scalar))
        fail(expected, node, size_note(node, spec));
    const double value = parse_decimal(node.scalar);
    if (std::isnan(value)) fail(expected, node, "; it does not fit a double");
    if (!in_range(value, spec)) fail(expected, node);
    return value;
}

bool read_flag(const YamlNode& node) {
    if (node.is_scalar() && !node.quoted && node.scalar == "true") return true;
    if (node.is_scalar() && !node.quoted && node.scalar == "false") return false;
    const std::vector<std::string> values{"true", "false"};
    fail("true or false", node,
         node.is_scalar()
             ? did_you_mean(node.scalar, values, "yes=true on=true 1=true no=false off=false 0=false")
             : "");
}

std::string read_text(const YamlNode& node, const KeySpec& spec) {
    if (node.is_scalar()) return node.scalar;
    if (!spec.joins_list || !node.is_list()) fail(ConfigValue<std::string>::accepts(spec), node);
    std::string text;
    for (const YamlNode& item : node.items) {
        if (!item.is_scalar()) fail("text in every place of the list", item);
        text += (text.empty() ? "" : ", ") + item.scalar;
    }
    return text;
}

std::vector<int64_t> parse_indices(std::string_view text) {
    std::set<int64_t> found;
    const auto number = [&](std::string_view part) {
        part.remove_prefix(std::min(part.find_first_not_of(' '), part.size()));
        part.remove_suffix(part.size() - std::min(part.find_last_not_of(' ') + 1, part.size()));
        int64_t value = -1;
        if (all_digits(part)) std::from_chars(part.data(), part.data() + part.size(), value);
        if (value < 0 || value > kMaxIndex)
            throw ValueFault(fmt::format("expected numbers and ranges from 0 to {} such as 0-2, 5, found {}",
                                         kMaxIndex, text.substr(0, 60)));
        return value;
    };
    for (size_t begin = 0; begin <= text.size();) {
        const size_t comma = std::min(text.find(',', begin), text.size());
        const std::string_view part = text.substr(begin, comma - begin);
        const size_t dash = part.find('-');
        const int64_t first = number(part.substr(0, dash));
        const int64_t last = dash == std::string_view::npos ? first : number(part.substr(dash + 1));
        if (last < first) throw ValueFault(fmt::format("expected a rising range, found {}", part));
        for (int64_t i = first; i <= last; ++i) found.insert(i);
        begin = comma + 1;
    }
    return {found.begin(), found.end()};
}

std::vector<int64_t> ConfigValue<std::vector<int64_t>>::read(const YamlNode& node, const KeySpec&) {
    KeySpec joined;
    joined.joins_list = true;
    return parse_indices(read_text(node, joined));
}

YamlNode ConfigValue<std::vector<int64_t>>::write(const std::vector<int64_t>& values, const KeySpec&) {
    YamlNode node = YamlNode::list();
    for (const int64_t value : values) node.items.push_back(YamlNode::plain(std::to_string(value)));
    return values.empty() ? YamlNode{} : node;
}

size_t read_choice(const YamlNode& node, const std::vector<std::string>& names, const KeySpec& spec) {
    const std::string expected = names.size() == 1 ? names[0] : "one of " + join_choices(names);
    if (!node.is_scalar()) fail(expected, node);
    const auto found = std::find(names.begin(), names.end(), node.scalar);
    if (found != names.end()) return static_cast<size_t>(found - names.begin());
    if (std::find(spec.not_built.begin(), spec.not_built.end(), node.scalar) != spec.not_built.end())
        fail(expected, node, ", which is not built yet");
    fail(expected, node, did_you_mean(node.scalar, names, spec.synonyms));
}

std::string example_note(std::string_view example) {
    return example.empty() ? "" : fmt::format(", for example {}", example);
}

std::string write_number(double value) {
    std::string text = fmt::format("{}", value);
    const size_t exponent = text.find('e');
    // "1e-06" becomes "1.0e-6": without the point, YAML 1.1 readers take it for text.
    if (exponent != std::string::npos && text[exponent + 2] == '0') text.erase(exponent + 2, 1);
    if (text.find('.') == std::string::npos) text.insert(std::min(exponent, text.size()), ".0");
    return text;
}

std::map<std::string, std::string> ConfigValue<std::map<std::string, std::string>>::read(
    const YamlNode& node, const KeySpec& spec) {
    if (!node.is_map()) fail("a map" + example_note(spec.example), node);
    std::map<std::string, std::string> values;
    for (const YamlEntry& entry : node.entries) {
        if (entry.value.is_null())
            throw ValueFault(fmt::format("{}: expected a value, found nothing", entry.key));
        values[entry.key] = to_flow_yaml(entry.value);
    }
    return values;
}

YamlNode ConfigValue<std::map<std::string, std::string>>::write(
    const std::map<std::string, std::string>& values, const KeySpec&) {
    YamlNode node = YamlNode::map();
    for (const auto& [key, text] : values) node.add(key, parse_yaml(text, key));
    return values.empty() ? YamlNode{} : node;
}

} // namespace braid
