#include "base/yaml_document.h"

#include "tests/support/config_text.h"

namespace braid {
namespace {

using braid::testing::config_error;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string parse_error(const std::string& text) {
    return config_error([&] { (void)parse_yaml(text, "f.yaml"); });
}

TEST(yaml_document, keeps_text_and_place_of_every_value) {
    const YamlNode root = parse_yaml("a: 1\nb:\n  c: [x, \"2\"]\n", "f.yaml");
    ASSERT_TRUE(root.is_map());
    EXPECT_EQ(root.find("a")->scalar, "1");
    EXPECT_FALSE(root.find("a")->quoted);
    const YamlNode* const list = root.find("b")->find("c");
    ASSERT_EQ(list->items.size(), 2u);
    EXPECT_TRUE(list->items[1].quoted);
    EXPECT_EQ(list->items[1].location.text(), "f.yaml:3:10");
    EXPECT_EQ(root.entries[1].location.text(), "f.yaml:2:1");
}

TEST(yaml_document, refuses_what_the_strict_file_leaves_out) {
    EXPECT_THAT(parse_error("a: &x 1\n"), AllOf(StartsWith("f.yaml:1:4: "), HasSubstr("anchors")));
    EXPECT_THAT(parse_error("a: &x 1\nb: *x\n"), HasSubstr("anchors"));
    EXPECT_THAT(parse_error("a: &x [1]\n"), HasSubstr("anchors"));
    EXPECT_THAT(parse_error("a: *x\n"), StartsWith("f.yaml:1:"));
    EXPECT_THAT(parse_error("b:\n  <<: {a: 1}\n"),
                AllOf(StartsWith("f.yaml:2:3: "), HasSubstr("merge keys")));
    EXPECT_THAT(parse_error("a: !!int 1\n"), HasSubstr("tags"));
    EXPECT_THAT(parse_error("a: !mine 1\n"), HasSubstr("tags"));
    EXPECT_THAT(parse_error("a: ! 1\n"), HasSubstr("tags"));
    EXPECT_THAT(parse_error("a: !!map {}\n"), HasSubstr("tags"));
    EXPECT_THAT(parse_error("a: 1\nb: 2\na: 3\n"),
                AllOf(StartsWith("f.yaml:3:1: a: duplicate"), HasSubstr("line 1")));
    EXPECT_THAT(parse_error("a: 1\n---\nb: 1\n"), HasSubstr("one YAML document"));
    EXPECT_THAT(parse_error("[a]: 1\n"), HasSubstr("a key must be text"));
    EXPECT_THAT(parse_error("a: [1\nb: 2\n"), AllOf(StartsWith("f.yaml:"), HasSubstr("not valid YAML")));
    EXPECT_THAT(parse_error(std::string("a: \0b", 5)), HasSubstr("control byte 0x00"));
    EXPECT_THAT(parse_error("a: \xff\xfe"), HasSubstr("UTF-8"));
}

TEST(yaml_document, refuses_deep_and_large_input_without_taking_the_stack) {
    EXPECT_THAT(parse_error(std::string(100'000, '[')), HasSubstr("nest more than 32 deep"));
    EXPECT_THAT(parse_error("a: " + std::string(100'000, '{')), HasSubstr("nest more than 32 deep"));
    std::string dashes, indented;
    for (int i = 0; i < 100'000; ++i) dashes += "- ";
    for (int i = 0; i < 1'000; ++i) indented += std::string(static_cast<size_t>(i), ' ') + "a:\n";
    EXPECT_THAT(parse_error(dashes), HasSubstr("nest more than 32 deep"));
    EXPECT_THAT(parse_error(indented), HasSubstr("nest more than 32 deep"));
    std::string items = "[";
    for (int i = 0; i < 30'000; ++i) items += "1, ";
    EXPECT_THAT(parse_error(items + "1]"), HasSubstr("more than 20000 values"));
    EXPECT_THAT(parse_error(std::string(kMaxYamlBytes + 1, 'a')),
                HasSubstr("expected at most 1048576 bytes"));
}

TEST(yaml_document, writes_what_reads_back) {
    YamlNode root = YamlNode::map();
    const std::vector<std::string> texts{
        "yes", "No",    "null",   "~",    "1", "1e3", "0x10",  "12:30",       "2020-01-01", "a: b",
        "#x",  "",      " space", "*x",   "[", "é",   "\"q\"", "line\nbreak", "tab\t",      "-",
        "on",  "plain", "a/b.h5", "${X}", "y", ".5",  "=",     "<<"};
    for (size_t i = 0; i < texts.size(); ++i) root.add("k" + std::to_string(i), YamlNode::string(texts[i]));
    root.add("list", YamlNode::list());
    root.find("list")->items = {YamlNode::plain("1"), YamlNode::string("true")};
    const YamlNode read = parse_yaml(to_yaml(root), "");
    for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(read.find("k" + std::to_string(i))->scalar, texts[i]);
    EXPECT_FALSE(read.find("list")->items[0].quoted);
    EXPECT_TRUE(read.find("list")->items[1].quoted);
}

TEST(yaml_document, merges_maps_and_replaces_the_rest) {
    YamlNode base = parse_yaml("a: {x: 1, v: 2}\nb: [1, 2]\nc: 3\n", "base");
    std::vector<YamlMergeFault> faults;
    merge_yaml(base, parse_yaml("a: {v: 5, z: {w: 6}}\nb: [9]\nc: null\nd: 4\n", "over"), faults);
    EXPECT_TRUE(faults.empty());
    EXPECT_EQ(to_flow_yaml(base), "{a: {x: 1, v: 5, z: {w: 6}}, b: [9], d: 4}");
    merge_yaml(base, parse_yaml("a: {q: null}\ne: {f: null}\n", "over"), faults);
    ASSERT_EQ(faults.size(), 2u);
    EXPECT_EQ(faults[0].key, "a.q");
    EXPECT_EQ(faults[1].key, "e.f");
    EXPECT_EQ(faults[1].location.text(), "over:2:5");
}

} // namespace
} // namespace braid
