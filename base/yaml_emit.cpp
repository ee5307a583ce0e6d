#include <yaml-cpp/emitter.h>
#include <yaml-cpp/emittermanip.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <regex>

#include "base/yaml_document.h"

namespace braid {

namespace {

/// Words that YAML 1.1 readers take for something other than text, in any letter case.
constexpr std::array<std::string_view, 9> kReserved{"true", "false", "yes", "no", "on",
                                                    "off",  "null",  "y",   "n"};

bool reads_as_text(const std::string& text) {
    // A letter first rules out every number, date and indicator; the rest has no character with a meaning.
    static const std::regex safe("[A-Za-z][A-Za-z0-9_./-]*");
    if (text.size() > 200 || !std::regex_match(text, safe)) return false;
    std::string lower = text;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    return std::find(kReserved.begin(), kReserved.end(), lower) == kReserved.end();
}

void emit_scalar(YAML::Emitter& out, const std::string& text, bool quoted) {
    if (quoted) out << YAML::DoubleQuoted;
    out << text;
}

/// True for what is short to read on one line: a list or map that holds scalars only.
bool is_flat(const YamlNode& node) {
    for (const YamlNode& item : node.items) {
        if (item.is_list() || item.is_map()) return false;
    }
    for (const YamlEntry& entry : node.entries) {
        if (entry.value.is_list() || entry.value.is_map()) return false;
    }
    return true;
}

void emit(YAML::Emitter& out, const YamlNode& node, bool flow) {
    switch (node.kind) {
        case YamlNode::Kind::null:
            out << YAML::Null;
            return;
        case YamlNode::Kind::scalar:
            emit_scalar(out, node.scalar, node.quoted);
            return;
        case YamlNode::Kind::list:
            flow = flow || is_flat(node);
            out << (flow ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
            for (const YamlNode& item : node.items) emit(out, item, flow);
            out << YAML::EndSeq;
            return;
        case YamlNode::Kind::map:
            flow = flow || node.entries.empty();
            out << (flow ? YAML::Flow : YAML::Block) << YAML::BeginMap;
            for (const YamlEntry& entry : node.entries) {
                out << YAML::Key;
                emit_scalar(out, entry.key, !reads_as_text(entry.key));
                out << YAML::Value;
                emit(out, entry.value, flow);
            }
            out << YAML::EndMap;
            return;
    }
}

std::string emit_text(const YamlNode& node, bool flow) {
    YAML::Emitter out;
    emit(out, node, flow);
    check(out.good(), "YAML emitter: {}", out.GetLastError());
    return out.c_str();
}

} // namespace

YamlNode YamlNode::string(std::string text) {
    YamlNode node = plain(std::move(text));
    node.quoted = !reads_as_text(node.scalar);
    return node;
}

std::string to_yaml(const YamlNode& node) {
    return emit_text(node, false) + "\n";
}

std::string to_flow_yaml(const YamlNode& node) {
    return emit_text(node, true);
}

} // namespace braid
