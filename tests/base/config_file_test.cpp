#include "base/config_file.h"

#include <cstdlib>
#include <filesystem>

#include "tests/support/config_text.h"
#include "tests/support/temporary_folder.h"

namespace braid {
namespace {

using braid::test::TemporaryFolder;
using braid::test::write_file;
using braid::testing::config_error;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string flow(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return to_flow_yaml(parse_config_tree(text, "f.yaml", overrides));
}

std::string flow_error(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return config_error([&] { (void)flow(text, overrides); });
}

TEST(config_file, extends_relative_to_the_file_and_overrides_win) {
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder / "sub");
    write_file(folder / "base.yaml", "a: {x: 1, v: 2}\nlist: [1, 2]\ngone: 5\n");
    write_file(folder / "sub/middle.yaml", "extends: ../base.yaml\na: {v: 3}\nlist: [7]\n");
    write_file(folder / "run.yaml", "extends: sub/middle.yaml\na: {z: 4}\ngone: null\n");
    EXPECT_EQ(to_flow_yaml(load_config_tree(folder / "run.yaml", {})), "{a: {x: 1, v: 3, z: 4}, list: [7]}");
    EXPECT_EQ(
        to_flow_yaml(load_config_tree(folder / "run.yaml", {"a.x=9", "a.x=10", "list=[]", "b.c.d={e: 1}"})),
        "{a: {x: 10, v: 3, z: 4}, list: [], b: {c: {d: {e: 1}}}}");
    const YamlNode tree = load_config_tree(folder / "run.yaml", {"a.x=9"});
    EXPECT_EQ(tree.find("a")->find("v")->location.text(), folder / "sub/middle.yaml:2:8");
    EXPECT_EQ(tree.find("a")->find("x")->location.text(), "override 1 (a.x=9)");
}

TEST(config_file, refuses_cycles_missing_files_and_folders) {
    const TemporaryFolder folder;
    write_file(folder / "a.yaml", "extends: b.yaml\n");
    write_file(folder / "b.yaml", "extends: ./a.yaml\n");
    EXPECT_THAT(config_error([&] { (void)load_config_tree(folder / "a.yaml", {}); }),
                HasSubstr("extends itself through"));
    write_file(folder / "self.yaml", "extends: self.yaml\n");
    EXPECT_THAT(config_error([&] { (void)load_config_tree(folder / "self.yaml", {}); }),
                HasSubstr("extends itself"));
    write_file(folder / "c.yaml", "extends: none.yaml\n");
    EXPECT_THAT(config_error([&] { (void)load_config_tree(folder / "c.yaml", {}); }),
                HasSubstr("none.yaml: cannot read"));
    EXPECT_THAT(config_error([&] { (void)load_config_tree(folder.path(), {}); }),
                HasSubstr("found a folder"));
    EXPECT_THAT(config_error([&] { (void)load_config_tree("/dev/zero", {}); }),
                HasSubstr("expected at most 1048576 bytes"));
    EXPECT_THAT(flow_error("- a\n"), HasSubstr("expected a map of keys, found a list"));
    EXPECT_THAT(flow_error(""), HasSubstr("expected a map of keys, found nothing"));
    EXPECT_THAT(flow_error("extends: [a]\n"), HasSubstr("expected the path of a file, found a list"));
}

TEST(config_file, a_chain_of_a_thousand_files_is_no_crash) {
    const TemporaryFolder folder;
    write_file(folder / "0.yaml", "a: 1\n");
    for (int i = 1; i <= 1000; ++i)
        write_file(folder / (std::to_string(i) + ".yaml"), "extends: " + std::to_string(i - 1) + ".yaml\n");
    EXPECT_THAT(config_error([&] { (void)load_config_tree(folder / "1000.yaml", {}); }),
                HasSubstr("extends: more than 16 files"));
    EXPECT_EQ(to_flow_yaml(load_config_tree(folder / "15.yaml", {})), "{a: 1}");
}

TEST(config_file, null_deletes_only_what_is_there) {
    EXPECT_THAT(flow_error("a: null\n"), AllOf(StartsWith("f.yaml:1:1: a: "), HasSubstr("null deletes")));
    EXPECT_THAT(flow_error("a:\n  b:\n"), HasSubstr("f.yaml:2:3: a.b: no value"));
    EXPECT_EQ(flow("a: 1\nb: 2\n", {"a=null"}), "{b: 2}");
    EXPECT_EQ(flow("a: 1\nb: 2\n", {"a="}), "{b: 2}");
    EXPECT_THAT(flow_error("a: 1\n", {"b=null"}), HasSubstr("override 1 (b=null): b: no value"));
}

TEST(config_file, overrides_reach_into_lists) {
    const std::string text = "l: [{p: 1}, {p: 2}]\n";
    EXPECT_EQ(flow(text, {"l.1.p=5", "l.0.q=x"}), "{l: [{p: 1, q: x}, {p: 5}]}");
    EXPECT_THAT(flow_error(text, {"l.2.p=5"}), HasSubstr("expected an item from 0 to 1 of a list, found 2"));
    EXPECT_THAT(flow_error(text, {"l.p=5"}), HasSubstr("found p"));
}

TEST(config_file, malformed_overrides_are_refused_by_number) {
    EXPECT_THAT(flow_error("a: 1\n", {"a=2", "nonsense"}),
                HasSubstr("override 2 (nonsense): expected key.path=value"));
    EXPECT_THAT(flow_error("a: 1\n", {"=2"}), HasSubstr("expected key.path=value"));
    EXPECT_THAT(flow_error("a: 1\n", {"a..b=2"}), HasSubstr("empty part"));
    EXPECT_THAT(flow_error("a: 1\n", {"a.=2"}), HasSubstr("empty part"));
    EXPECT_THAT(flow_error("a: 1\n", {"a=[1"}), HasSubstr("override 1 (a=[1)"));
    EXPECT_THAT(flow_error("a: 1\n", {"a=&x 1"}), HasSubstr("anchors"));
    EXPECT_THAT(flow_error("a: 1\n", {"extends=x"}), HasSubstr("only a file can extend"));
    EXPECT_THAT(flow_error("a: 1\n", {std::string(5000, '.') + "=1"}), HasSubstr("parts"));
}

TEST(config_file, environment_variables_are_replaced_or_missed) {
    ASSERT_EQ(setenv("BRAID_TEST_STEPS", "25", 1), 0);
    ASSERT_EQ(unsetenv("BRAID_TEST_UNSET"), 0);
    EXPECT_EQ(flow("a: ${BRAID_TEST_STEPS}\nb: [\"x${BRAID_TEST_STEPS}y\"]\n"), "{a: 25, b: [\"x25y\"]}");
    EXPECT_EQ(flow("a: x$${HOME}\n"), "{a: \"x${HOME}\"}");
    EXPECT_EQ(flow("a: 1\n", {"a=${BRAID_TEST_STEPS}"}), "{a: 25}");
    EXPECT_THAT(flow_error("a: 1\nb: ${BRAID_TEST_UNSET}\n"),
                AllOf(StartsWith("f.yaml:2:4: "), HasSubstr("BRAID_TEST_UNSET is not set")));
    EXPECT_THAT(flow_error("b: ${not-a-name}\n"), HasSubstr("expected ${NAME}"));
    EXPECT_THAT(flow_error("b: \"${open\"\n"), HasSubstr("expected ${NAME}"));
    for (const std::string text : {"${X}", "$${X}", "a$", "$$", "$$${Y}${", "plain"})
        EXPECT_EQ(parse_config_tree("a: \"" + escape_variables(text) + "\"\n", "f", {}).find("a")->scalar,
                  text);
}

TEST(config_file, a_stored_tree_is_what_its_text_says) {
    const auto stored = [](const std::string& text) { return to_flow_yaml(parse_stored_tree(text, "f")); };
    EXPECT_EQ(stored("a: {b: [\"x$${HOME}\", 1]}\n"), "{a: {b: [\"x${HOME}\", 1]}}");
    const auto refused = [&](const std::string& text) { return config_error([&] { (void)stored(text); }); };
    ASSERT_EQ(setenv("BRAID_TEST_SECRET", "hidden", 1), 0);
    EXPECT_THAT(refused("a: 1\nb: [x, \"${BRAID_TEST_SECRET}\"]\n"),
                AllOf(StartsWith("f:2:8: "), HasSubstr("a stored config has no variables"),
                      HasSubstr("${BRAID_TEST_SECRET}"), Not(HasSubstr("hidden"))));
    const TemporaryFolder folder;
    write_file(folder / "other.yaml", "not: [closed");
    for (const std::string& path : {folder / "other.yaml", std::string("/dev/zero"), std::string("missing")})
        EXPECT_THAT(refused("extends: " + path + "\na: 1\n"),
                    AllOf(StartsWith("f:1:10: "), HasSubstr("extends: expected no such key"), HasSubstr(path),
                          Not(HasSubstr("cannot read"))));
    EXPECT_THAT(refused("extends: {a: 1}\n"), HasSubstr("found a map"));
    EXPECT_THAT(refused("- 1\n"), HasSubstr("expected a map of keys"));
    for (const std::string text : {"${X}", "$${X}", "a$", "$$", "$$${Y}${", "plain"})
        EXPECT_EQ(parse_stored_tree("a: \"" + escape_variables(text) + "\"\n", "f").find("a")->scalar, text);
}

} // namespace
} // namespace braid
