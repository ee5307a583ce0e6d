#include <algorithm>

#include "trainer/config/run_schema.h"

namespace braid {

namespace {

/// Text inside a Markdown table cell.
std::string cell(std::string text) {
    for (size_t at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2))
        text.insert(at, "\\");
    return text;
}

/// The key as the docs name it, with the sublayer type it belongs to.
std::string shown_path(const KeyDoc& doc) {
    return doc.path + (doc.only_for.empty() ? "" : " (" + doc.only_for + ")");
}

std::string group_of(const KeyDoc& doc) {
    const size_t dot = doc.path.find('.');
    if (doc.path.starts_with("model.sublayers."))

        return "model.sublayers" + (doc.only_for.empty() ? "" : ": " + doc.only_for);
    return dot == std::string::npos && doc.accepts != "map" ? "top level" : doc.path.substr(0, dot);
}

std::string group_table(const std::string& group) {
    std::string text = fmt::format("\n## {}\n\n| key | takes | default | |\n|---|---|---|---|\n", group);
    for (const KeyDoc& doc : run_docs().keys) {
        if (group_of(doc) != group || doc.accepts == "map") continue; // the keys of a map say it all
        text += fmt::format("| `{}`{} | {} | {} | {} |\n", doc.path, doc.changes_numbers ? "" : " *",
                            cell(doc.accepts), cell(doc.default_text), cell(doc.help));
    }
    return text;
}

constexpr std::string_view kIntroduction = R"(# Config keys

This page is generated: `braid config keys --markdown > docs/config.md`.

A run file is YAML without anchors, aliases, merge keys and tags. Numbers are base 10. Where a key takes a size,
`K`, `M`, `B` and `T` stand for powers of 1000, so `20B` is 20,000,000,000. `${NAME}` in a value becomes the
environment variable of that name, which must be set; `$${` stands for a plain `${`. A key that is unknown, given
twice, or without effect because of another key is an error.

`extends: base.yaml` starts from another file, relative to this one: maps merge, lists replace, and null deletes a key.
`key.path=value` on the command line is laid on top by the same rules; a number in the path picks an item of a list.

Capitals in a path stand for names that you choose (NAME) or positions in a list (N). Keys marked * do not change the
numbers that a run computes, beyond rounding, so a run may resume with another value.
)";

constexpr std::string_view kPatterns = R"(
## Patterns

`model.pattern` lists layers, separated by commas. `a+b` joins the sublayers of one layer, each with its own norm and
residual; `(...)` groups; `*N` repeats a layer or a group, and N may be 0. `"(gdn+moe)*3, attn+moe"` is four layers. A
list of texts means the same. `pattern_head` and `pattern_tail` stand before and after it. `num_layers` counts all
three, and the pattern is repeated to fill it; a last repetition that does not fit is refused unless
`partial_tile: truncate`.

`model.layers` changes single layers, counted from 0:
`[{at: "0-2", replace: {moe: dense}}, {at: "43,44", set: {moe.router.scale: 2}}]`.
)";

} // namespace

std::string key_lines() {
    size_t width = 0;
    for (const KeyDoc& doc : run_docs().keys) width = std::max(width, shown_path(doc).size());
    std::string text;
    for (const KeyDoc& doc : run_docs().keys) {
        text += fmt::format("{:<{}}  {}", shown_path(doc), width, doc.accepts);
        if (!doc.default_text.empty()) text += fmt::format("  [{}]", doc.default_text);
        text += fmt::format("  {}\n", doc.help);
    }
    return text;
}

std::string config_reference() {
    std::string text(kIntroduction);
    std::vector<std::string> groups;
    for (const KeyDoc& doc : run_docs().keys) {
        if (std::find(groups.begin(), groups.end(), group_of(doc)) == groups.end())
            groups.push_back(group_of(doc));
    }
    for (const std::string& group : groups) text += group_table(group);
    text += kPatterns;
    text += "\n## Rules between keys\n\n";
    for (const RuleDoc& rule : run_docs().rules)
        text += fmt::format("- {}{}\n", rule.path.empty() ? "" : "`" + rule.path + "`: ", rule.text);
    return text;
}

} // namespace braid
