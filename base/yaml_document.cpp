#include "base/yaml_document.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <istream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

namespace braid {

namespace {

/// Builds the tree from the parser's events, and refuses what the strict file may not hold as soon as it is
/// seen.
class TreeBuilder : public YAML::EventHandler {
  public:
    TreeBuilder(std::string_view text, std::shared_ptr<const std::string> source)
        : text_(text), source_(std::move(source)) {}

    YamlNode root;

    void OnDocumentStart(const YAML::Mark&) override {}
    void OnDocumentEnd() override {}

    void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        refuse_anchor(mark, anchor);
        YamlNode node;
        node.location = locate(mark);
        place(std::move(node), mark);
    }

    void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
        refuse(mark, "aliases (*name) are not allowed: write the value out, or use extends or like");
    }

    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  const std::string& value) override {
        refuse_anchor(mark, anchor);
        refuse_tag(mark, tag);
        if (tag == "!" && !is_text_start(mark)) refuse(mark, "tags (!name) are not allowed");
        YamlNode node = YamlNode::plain(value);
        node.quoted = tag == "!";
        node.location = locate(mark);
        place(std::move(node), mark);
    }

    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value) override {
        open(YamlNode::list(), mark, tag, anchor);
    }
    void OnSequenceEnd() override { close(); }
    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value) override {
        open(YamlNode::map(), mark, tag, anchor);
    }
    void OnMapEnd() override { close(); }

  private:
    /// A list or map whose end has not come, with the key read and waiting for its value.
    struct Open {
        YamlNode node;
        std::optional<YamlEntry> key;
        std::map<std::string, int> key_lines;
    };

    [[noreturn]] void refuse(const YAML::Mark& mark, std::string_view message) const {
        throw ConfigError("{}: {}", locate(mark).text(), message);
    }
    void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) const {
        if (anchor != 0) refuse(mark, "anchors (&name) are not allowed: use extends or like");
    }
    void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
        if (!tag.empty() && tag != "?" && tag != "!") refuse(mark, "tags (!name) are not allowed");
    }
    /// The parser reports quoted text and the bare tag "!" alike; the source tells them apart.
    bool is_text_start(const YAML::Mark& mark) const {
        const auto position = static_cast<size_t>(mark.pos);
        return position < text_.size() &&
               std::string_view("\"'|>").find(text_[position]) != std::string_view::npos;
    }

    Location locate(const YAML::Mark& mark) const { return {source_, mark.line + 1, mark.column + 1}; }

    void open(YamlNode node, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
        refuse_anchor(mark, anchor);
        refuse_tag(mark, tag);
        if (tag == "!") refuse(mark, "tags (!name) are not allowed");
        if (!stack_.empty() && stack_.back().node.is_map() && !stack_.back().key)
            refuse(mark, "a key must be text, not a list or a map");
        if (stack_.size() >= kMaxYamlDepth)
            refuse(mark, fmt::format("lists and maps nest more than {} deep", kMaxYamlDepth));
        node.location = locate(mark);
        count(mark);
        stack_.push_back({std::move(node), std::nullopt, {}});
    }

    void close() {
        YamlNode node = std::move(stack_.back().node);
        stack_.pop_back();
        put(std::move(node));
    }

    /// Takes a scalar or null as the key or value that comes next.
    void place(YamlNode node, const YAML::Mark& mark) {
        count(mark);
        if (stack_.empty() || !stack_.back().node.is_map() || stack_.back().key) return put(std::move(node));
        if (!node.is_scalar()) refuse(mark, "a key must be text");
        if (node.scalar == "<<" && !node.quoted)
            refuse(mark, "merge keys (<<) are not allowed: use extends or like");
        for (const YamlEntry& entry : stack_.back().node.entries) {
            if (entry.key == node.scalar)
                refuse(mark,
                       fmt::format("{}: duplicate key, first on line {}", node.scalar, entry.location.line));
        }
        stack_.back().key = YamlEntry{node.scalar, node.location, {}};
    }

    void count(const YAML::Mark& mark) {
        if (++num_nodes_ > kMaxYamlNodes)
            refuse(mark, fmt::format("more than {} values and keys", kMaxYamlNodes));
    }

    void put(YamlNode node) {
        if (stack_.empty()) {
            root = std::move(node);
            return;
        }
        Open& parent = stack_.back();
        if (parent.node.is_list()) {
            parent.node.items.push_back(std::move(node));
            return;
        }
        parent.key->value = std::move(node);
        parent.node.entries.push_back(std::move(*parent.key));
        parent.key.reset();
    }

    std::string_view text_;
    std::shared_ptr<const std::string> source_;
    std::vector<Open> stack_;
    int num_nodes_ = 0;
};

/// Refuses what is not text before a parser sees it.
void check_text(std::string_view text, const std::string& source) {
    if (static_cast<int64_t>(text.size()) > kMaxYamlBytes)
        throw ConfigError("{}: expected at most {} bytes, found {}", source, kMaxYamlBytes, text.size());
    int line = 1;
    int open_brackets = 0;
    for (const char c : text) {
        if (c == '\n') ++line;
        open_brackets += (c == '[' || c == '{') - (c == ']' || c == '}');
        // The parser takes unclosed brackets for keys of many kinds; this says what is wrong.
        if (open_brackets > kMaxYamlDepth)
            throw ConfigError("{}:{}: brackets nest more than {} deep", source, line, kMaxYamlDepth);
        const auto byte = static_cast<unsigned char>(c);
        if ((byte < 0x20 && c != '\n' && c != '\r' && c != '\t') || byte == 0x7f)
            throw ConfigError("{}:{}: expected text, found the control byte 0x{:02x}", source, line, byte);
    }
    try {
        (void)nlohmann::json(text).dump();
    } catch (const nlohmann::json::exception&) {
        throw ConfigError("{}: expected UTF-8 text, found other bytes", source);
    }
}

} // namespace

std::string Location::text() const {
    if (!source) return "(built in)";
    if (line == 0) return *source;
    return fmt::format("{}:{}:{}", *source, line, column);
}

YamlNode YamlNode::plain(std::string text) {
    YamlNode node;
    node.kind = Kind::scalar;
    node.scalar = std::move(text);
    return node;
}

YamlNode YamlNode::list() {
    YamlNode node;
    node.kind = Kind::list;
    return node;
}

YamlNode YamlNode::map() {
    YamlNode node;
    node.kind = Kind::map;
    return node;
}

const YamlNode* YamlNode::find(std::string_view key) const {
    for (const YamlEntry& entry : entries) {
        if (entry.key == key) return &entry.value;
    }
    return nullptr;
}

YamlNode* YamlNode::find(std::string_view key) {
    return const_cast<YamlNode*>(static_cast<const YamlNode*>(this)->find(key));
}

void YamlNode::add(std::string key, YamlNode value) {
    const Location place = value.location;
    entries.push_back({std::move(key), place, std::move(value)});
}

void YamlNode::remove(std::string_view key) {
    std::erase_if(entries, [&](const YamlEntry& entry) { return entry.key == key; });
}

std::string YamlNode::shown() const {
    switch (kind) {
        case Kind::null:
            return "nothing";
        case Kind::list:
            return "a list";
        case Kind::map:
            return "a map";
        case Kind::scalar:
            break;
    }
    const std::string cut = scalar.size() > 60 ? scalar.substr(0, 60) + "..." : scalar;
    return quoted ? fmt::format("the text \"{}\"", cut) : cut;
}

YamlNode parse_yaml(std::string_view text, const std::string& source) {
    check_text(text, source);
    if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
    TreeBuilder builder(text, std::make_shared<const std::string>(source));
    try {
        std::istringstream stream{std::string(text)};
        YAML::Parser parser(stream);
        parser.HandleNextDocument(builder);
        TreeBuilder second(text, std::make_shared<const std::string>(source));
        if (parser.HandleNextDocument(second))
            throw ConfigError("{}: expected one YAML document, found a second after '---'", source);
    } catch (const YAML::Exception& error) {
        throw ConfigError("{}:{}:{}: not valid YAML: {}", source, error.mark.line + 1, error.mark.column + 1,
                          error.msg);
    }
    return std::move(builder.root);
}

void relocate(YamlNode& node, const Location& location) {
    node.location = location;
    for (YamlNode& item : node.items) relocate(item, location);
    for (YamlEntry& entry : node.entries) {
        entry.location = location;
        relocate(entry.value, location);
    }
}

void merge_yaml(YamlNode& base, const YamlNode& over, std::vector<YamlMergeFault>& faults,
                const std::string& path) {
    if (!over.is_map()) {
        base = over;
        return;
    }
    if (!base.is_map()) {
        base = YamlNode::map();
        base.location = over.location;
    }
    for (const YamlEntry& entry : over.entries) {
        const std::string key = path.empty() ? entry.key : path + "." + entry.key;
        auto old = std::find_if(base.entries.begin(), base.entries.end(),
                                [&](const YamlEntry& known) { return known.key == entry.key; });
        const bool is_new = old == base.entries.end();
        if (entry.value.is_null()) {
            if (is_new) faults.push_back({entry.location, key});
            if (!is_new) base.entries.erase(old);
            continue;
        }
        // A map that is new is merged into nothing, so that the nulls inside it are seen.
        if (is_new) old = base.entries.insert(old, {entry.key, entry.location, {}});
        if (!entry.value.is_map()) old->location = entry.location;
        merge_yaml(old->value, entry.value, faults, key);
    }
}

} // namespace braid
