#include "base/schema_log.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <tuple>

#include "base/suggest.h"

namespace braid {

namespace {

/// More than a reader works through; each costs a search for what was meant.
constexpr size_t kMaxFaultsShown = 20;

std::vector<std::string> split_path(const std::string& path) {
    std::vector<std::string> parts;
    size_t begin = 0;
    while (true) {
        const size_t dot = path.find('.', begin);
        parts.push_back(path.substr(begin, dot - begin));
        if (dot == std::string::npos) return parts;
        begin = dot + 1;
    }
}

std::string last_part(const std::string& path) {
    const size_t dot = path.rfind('.');
    return dot == std::string::npos ? path : path.substr(dot + 1);
}

/// The form in which names of other frameworks are compared: lower case, underscores.
std::string canonical(std::string name) {
    for (char& c : name) c = c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return name;
}

/// Where a key sits in this file: the template's NAME becomes the user's own sublayer of the right type.
/// "" where the file has none.
std::string in_this_file(const KeyDoc& doc, const std::string& path, const YamlNode& root) {
    const std::string marker = "sublayers.NAME.";
    const size_t at = doc.path.find(marker);
    if (at == std::string::npos) return doc.path;
    const std::string rest = doc.path.substr(at + marker.size());
    const std::string prefix = doc.path.substr(0, at + marker.size() - 5);
    const YamlNode* const model = root.find("model");
    const YamlNode* const sublayers = model ? model->find("sublayers") : nullptr;
    std::string fitting;
    for (const YamlEntry& entry : sublayers ? sublayers->entries : std::vector<YamlEntry>{}) {
        const YamlNode* const type = entry.value.find("type");
        if (!doc.only_for.empty() && !(type && type->scalar == doc.only_for)) continue;
        if (path.starts_with(prefix + entry.key + ".")) return prefix + entry.key + "." + rest;
        if (fitting.empty()) fitting = prefix + entry.key + "." + rest;
    }
    return !fitting.empty() || !doc.only_for.empty() ? fitting : doc.path;
}

/// What the writer of an unknown key may have meant: another framework's name, a slip of the fingers in this
/// section, or the right name in the wrong section.
std::string suggestion(const ReadLog::Unknown& unknown, const SchemaDocs& docs, const YamlNode& root) {
    const std::string name = canonical(last_part(unknown.path));
    const size_t dot = unknown.path.rfind('.');
    const std::string section = dot == std::string::npos ? "" : unknown.path.substr(0, dot + 1);
    std::vector<std::string> found, elsewhere; // in this file, and of sublayers that it does not have
    const auto add = [&](const KeyDoc& doc) {
        std::string place = in_this_file(doc, unknown.path, root);
        std::vector<std::string>& places = place.empty() ? elsewhere : found;
        if (place.empty()) place = fmt::format("{} of a sublayer of type {}", doc.path, doc.only_for);
        if (std::find(places.begin(), places.end(), place) == places.end()) places.push_back(place);
    };
    const auto is_found = [&] { return !found.empty() || !elsewhere.empty(); };
    for (const KeyDoc& doc : docs.keys) {
        const auto& aliases = doc.aliases; // a name, or where that says too little a whole path
        if (std::find(aliases.begin(), aliases.end(), name) != aliases.end() ||
            std::find(aliases.begin(), aliases.end(), unknown.path) != aliases.end())
            add(doc);
    }
    if (!is_found()) {
        const std::string sibling = closest(name, unknown.siblings);
        if (!sibling.empty()) return section + sibling;
        for (const KeyDoc& doc : docs.keys) {
            if (last_part(doc.path) == name) add(doc);
        }
    }
    if (!is_found()) {
        std::vector<std::string> names;
        for (const KeyDoc& doc : docs.keys) names.push_back(last_part(doc.path));
        const std::string near = closest(name, names);
        for (const KeyDoc& doc : docs.keys) {
            if (!near.empty() && last_part(doc.path) == near) add(doc);
        }
    }
    if (found.empty()) found = std::move(elsewhere);
    if (found.size() > 4) found.resize(4);
    return join_choices(found);
}

constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

} // namespace

KeyDoc KeyDoc::of(const std::string& path, std::string accepts, std::string default_text,
                  const KeySpec& spec) {
    return {path,
            std::move(accepts),
            std::move(default_text),
            std::string(spec.help),
            "",
            {spec.aliases.begin(), spec.aliases.end()},
            spec.changes_numbers};
}

bool is_config_name(const std::string& name) {
    const std::string start = std::string(kLetters) + "_";
    return !name.empty() && name.size() <= 64 && start.find(name[0]) != std::string::npos &&
           name.find_first_not_of(start + "0123456789-") == std::string::npos;
}

const KeyDoc* SchemaDocs::find(const std::string& path) const {
    const std::vector<std::string> parts = split_path(path);
    for (const KeyDoc& doc : keys) {
        const std::vector<std::string> pattern = split_path(doc.path);
        const bool same = std::equal(parts.begin(), parts.end(), pattern.begin(), pattern.end(),
                                     [](const std::string& part, const std::string& expected) {
                                         return expected == "NAME" || expected == "N" || part == expected;
                                     });
        if (same) return &doc;
    }
    return nullptr;
}

Location ReadLog::location_of(const std::string& path) const {
    for (std::string place = path; !place.empty();) {
        const auto found = given.find(place);
        if (found != given.end()) return found->second;
        const size_t dot = place.rfind('.');
        place = dot == std::string::npos ? "" : place.substr(0, dot);
    }
    const auto root = given.find("");
    return root == given.end() ? Location{} : root->second;
}

bool ReadLog::is_sound(const std::string& path) const {
    const auto lies_below = [&](const std::string& key) {
        return key.starts_with(path) &&
               (path.empty() || key.size() == path.size() || key[path.size()] == '.');
    };
    return std::none_of(faults.begin(), faults.end(),
                        [&](const Fault& fault) { return lies_below(fault.key); }) &&
           std::none_of(unknown.begin(), unknown.end(),
                        [&](const Unknown& key) { return lies_below(key.path); });
}

void ReadLog::throw_faults(const SchemaDocs& docs, const YamlNode& root) const {
    const std::string text = fault_lines(docs, root);
    if (!text.empty()) throw ConfigError("{}", text);
}

std::string ReadLog::fault_lines(const SchemaDocs& docs, const YamlNode& root) const {
    struct Line {
        const Location* location;
        const std::string* key;
        const std::string* message; // null for an unknown key
        const Unknown* unknown;
    };
    std::vector<Line> lines;
    for (const Fault& fault : faults) lines.push_back({&fault.location, &fault.key, &fault.message, nullptr});
    for (const Unknown& key : unknown) lines.push_back({&key.location, &key.path, nullptr, &key});
    std::stable_sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) {
        return std::tuple(a.location->line, a.location->column) <
               std::tuple(b.location->line, b.location->column);
    });
    std::set<std::string> seen;
    std::string text;
    for (const Line& line : lines) {
        if (seen.size() == kMaxFaultsShown) {
            text += fmt::format("\n... and more: {} faults in all", lines.size());
            break;
        }
        const std::string meant = line.unknown ? suggestion(*line.unknown, docs, root) : "";
        const std::string message =
            line.unknown ? "unknown key" + (meant.empty() ? "" : "; did you mean " + meant + "?")
                         : *line.message;
        // A fault in a sublayer that others copy (`like`) shows up in each; one line names its place.
        if (!seen.insert(line.location->text() + last_part(*line.key) + message).second) continue;
        const std::string key = line.key->size() > 200 ? line.key->substr(0, 200) + "..." : *line.key;
        text += (text.empty() ? "" : "\n") + line.location->text() + ": " + (key.empty() ? "" : key + ": ") +
                message;
    }
    return text;
}

} // namespace braid
