#include "base/config_file.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"

namespace braid {

namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxChain = 16;

bool is_variable_name(std::string_view name) {
    const auto is_letter = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    };
    return !name.empty() && is_letter(name[0]) && std::all_of(name.begin(), name.end(), [&](char c) {
        return is_letter(c) || (c >= '0' && c <= '9');
    });
}

enum class Variables { expand, refuse };

std::string expand_variables(const std::string& text, const Location& location, Variables variables) {
    std::string result;
    for (size_t i = 0; i < text.size();) {
        if (text.compare(i, 3, "$${") == 0) {
            result += "${";
            i += 3;
            continue;
        }
        if (text.compare(i, 2, "${") != 0) {
            result += text[i++];
            continue;
        }
        if (variables == Variables::refuse)
            throw ConfigError("{}: expected $${{ for a plain ${{, found {}: a stored config has no variables",
                              location.text(), text.substr(i, 40));
        const size_t end = text.find('}', i);
        const std::string name = end == std::string::npos ? "" : text.substr(i + 2, end - i - 2);
        if (!is_variable_name(name))
            throw ConfigError("{}: expected ${{NAME}}, found {} (write $${{ for a plain ${{)",
                              location.text(), text.substr(i, 40));
        const char* const value = std::getenv(name.c_str());
        if (!value) throw ConfigError("{}: the environment variable {} is not set", location.text(), name);
        result += value;
        i = end + 1;
    }
    return result;
}

void expand_tree(YamlNode& node, Variables variables = Variables::expand) {
    if (node.is_scalar() && node.scalar.find("${") != std::string::npos)
        node.scalar = expand_variables(node.scalar, node.location, variables);
    for (YamlNode& item : node.items) expand_tree(item, variables);
    for (YamlEntry& entry : node.entries) expand_tree(entry.value, variables);
}

std::string read_file(const std::string& path) {
    std::error_code error;
    if (fs::is_directory(path, error)) throw ConfigError("{}: expected a config file, found a folder", path);
    std::ifstream file(path, std::ios::binary);
    if (!file) throw ConfigError("{}: cannot read the config file: {}", path, std::strerror(errno));
    // One byte more than allowed is read, so that a device or a huge file is refused without filling memory.
    std::string text(kMaxYamlBytes + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(file.gcount()));
    return text;
}

void merge_checked(YamlNode& base, const YamlNode& over) {
    std::vector<YamlMergeFault> faults;
    merge_yaml(base, over, faults);
    std::string text;
    for (const YamlMergeFault& fault : faults)
        text += fmt::format(
            "{}{}: {}: no value; null deletes a key of the file this one extends, and there is none",
            text.empty() ? "" : "\n", fault.location.text(), fault.key);
    if (!text.empty()) throw ConfigError("{}", text);
}

/// The tree of one text with the files it extends below it. `chain` holds the files that led here.
YamlNode parse_with_bases(std::string_view text, const std::string& source, const fs::path& folder,
                          std::vector<fs::path>& chain);

YamlNode load_with_bases(const std::string& path, std::vector<fs::path>& chain) {
    std::error_code error;
    fs::path canonical = fs::weakly_canonical(path, error);
    if (error) canonical = path;
    if (std::find(chain.begin(), chain.end(), canonical) != chain.end())
        throw ConfigError("{}: extends: this file extends itself through {}", path, chain.back().string());
    if (chain.size() >= kMaxChain)
        throw ConfigError("{}: extends: more than {} files in a row", path, kMaxChain);
    chain.push_back(canonical);
    YamlNode tree = parse_with_bases(read_file(path), path, fs::path(path).parent_path(), chain);
    chain.pop_back();
    return tree;
}

YamlNode parse_with_bases(std::string_view text, const std::string& source, const fs::path& folder,
                          std::vector<fs::path>& chain) {
    YamlNode tree = parse_yaml(text, source);
    if (!tree.is_map()) throw ConfigError("{}: expected a map of keys, found {}", source, tree.shown());
    expand_tree(tree);
    YamlNode base = YamlNode::map();
    base.location = tree.location;
    if (const YamlNode* const extends = tree.find("extends")) {
        if (!extends->is_scalar() || extends->scalar.empty())
            throw ConfigError("{}: extends: expected the path of a file, found {}", extends->location.text(),
                              extends->shown());
        base = load_with_bases((folder / extends->scalar).string(), chain);
        tree.remove("extends");
    }
    merge_checked(base, tree);
    return base;
}

/// The item of a list that a path names by number.
YamlNode& list_item(YamlNode& list, const std::string& index, const Location& location,
                    const std::string& path) {
    size_t position = 0;
    const auto result = std::from_chars(index.data(), index.data() + index.size(), position);
    if (result.ec != std::errc() || result.ptr != index.data() + index.size() ||
        position >= list.items.size())
        throw ConfigError("{}: {}: expected an item from 0 to {} of a list, found {}", location.text(), path,
                          static_cast<int64_t>(list.items.size()) - 1, index);
    return list.items[position];
}

/// Lays `value` on the tree at a dotted path, whose first part is the root's.
void place(YamlNode& node, const std::string& path, size_t begin, YamlNode value, const Location& location) {
    const size_t dot = path.find('.', begin);
    const std::string part = path.substr(begin, dot - begin);
    if (part.empty())
        throw ConfigError("{}: expected key.path=value, found an empty part in {}", location.text(), path);
    if (node.is_list()) {
        YamlNode& item = list_item(node, part, location, path);
        if (dot != std::string::npos) return place(item, path, dot + 1, std::move(value), location);
        return merge_checked(item, value);
    }
    YamlNode over = YamlNode::map();
    over.location = location;
    YamlNode* const next = node.find(part);
    if (dot != std::string::npos && next && (next->is_list() || next->is_map()))
        return place(*next, path, dot + 1, std::move(value), location);
    if (dot != std::string::npos) {
        YamlNode inner = YamlNode::map();
        inner.location = location;
        place(inner, path, dot + 1, std::move(value), location);
        value = std::move(inner);
    }
    over.entries.push_back({part, location, std::move(value)});
    merge_checked(node, over);
}

void apply_overrides(YamlNode& tree, const std::vector<std::string>& overrides) {
    for (size_t i = 0; i < overrides.size(); ++i) {
        const std::string& text = overrides[i];
        const std::string source = fmt::format("override {} ({})", i + 1, text.substr(0, 80));
        const Location location{std::make_shared<const std::string>(source), 0, 0};
        const size_t equals = text.find('=');
        if (equals == std::string::npos || equals == 0)
            throw ConfigError("{}: expected key.path=value", location.text());
        const std::string path = text.substr(0, equals);
        if (path == "extends")
            throw ConfigError("{}: extends: only a file can extend another", location.text());
        if (std::count(path.begin(), path.end(), '.') >= kMaxYamlDepth)
            throw ConfigError("{}: the key has more than {} parts", location.text(), kMaxYamlDepth);
        YamlNode value = parse_yaml(text.substr(equals + 1), source);
        relocate(value, location);
        expand_tree(value);
        place(tree, path, 0, std::move(value), location);
    }
}

} // namespace

YamlNode load_config_tree(const std::string& path, const std::vector<std::string>& overrides) {
    std::vector<fs::path> chain;
    YamlNode tree = load_with_bases(path, chain);
    apply_overrides(tree, overrides);
    return tree;
}

YamlNode parse_config_tree(std::string_view text, const std::string& source,
                           const std::vector<std::string>& overrides) {
    std::vector<fs::path> chain;
    YamlNode tree = parse_with_bases(text, source, "", chain);
    apply_overrides(tree, overrides);
    return tree;
}

YamlNode parse_stored_tree(std::string_view text, const std::string& source) {
    YamlNode tree = parse_yaml(text, source);
    if (!tree.is_map()) throw ConfigError("{}: expected a map of keys, found {}", source, tree.shown());
    if (const YamlNode* const extends = tree.find("extends"))
        throw ConfigError("{}: extends: expected no such key, as a stored config is whole, found {}",
                          extends->location.text(), extends->shown());
    expand_tree(tree, Variables::refuse);
    YamlNode base = YamlNode::map();
    base.location = tree.location;
    merge_checked(base, tree);
    return base;
}

std::string escape_variables(std::string text) {
    for (size_t at = text.find("${"); at != std::string::npos; at = text.find("${", at + 3))
        text.insert(at, "$");
    return text;
}

} // namespace braid
