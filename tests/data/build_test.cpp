#include "data/build.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "data/inspect.h"
#include "tests/data/token_fixture.h"
#include "tests/support/temporary_folder.h"

#include <nlohmann/json.hpp>

namespace braid {
namespace {

using test::TemporaryFolder;
using test::write_file;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> texts_of(const std::string& path) {
    const TokenFile file(path);
    file.verify();
    std::vector<int32_t> tokens(static_cast<size_t>(file.num_tokens()));
    file.read(0, tokens);
    const std::string all = make_tokenizer("bytes")->decode(tokens);
    std::vector<std::string> texts;
    for (size_t d = 0; d + 1 < file.document_offsets().size(); ++d) {
        const auto begin = static_cast<size_t>(file.document_offsets()[d]);
        texts.push_back(all.substr(begin, static_cast<size_t>(file.document_offsets()[d + 1]) - begin));
        EXPECT_EQ(file.document_bytes()[d], static_cast<int64_t>(texts.back().size()));
    }
    return texts;
}

TEST(build, inputs_become_documents_in_order) {
    const TemporaryFolder folder;
    std::filesystem::create_directories(folder / "in");
    write_file(folder / "in/b.jsonl", "{\"text\": \"three\"}\n{\"text\": \"\"}\n");
    write_file(folder / "in/a.txt", "two\n");
    write_file(folder / "first.txt", "one\n");
    const BuildResult result =
        build_token_file({.inputs = {folder / "first.txt", folder / "in"}, .output = folder / "out.h5"});
    EXPECT_THAT(texts_of(folder / "out.h5"), ElementsAre("one\n", "two\n", "three", ""));
    EXPECT_EQ(result.train.num_documents, 4);
    EXPECT_EQ(result.train.num_tokens, 13);
    EXPECT_FALSE(result.validation);
}

TEST(build, prompts_are_read_and_completions_are_labels) {
    const TemporaryFolder folder;
    write_file(folder / "a.jsonl",
               "{\"text\": \"plain\"}\n"
               "{\"prompt\": \"1+1=\", \"completion\": \"2\", \"from\": {\"text\": 1}}\n"
               "{\"completion\": \"end\", \"prompt\": \"\"}\n");
    const BuildResult result =
        build_token_file({.inputs = {folder / "a.jsonl"}, .output = folder / "out.h5"});
    EXPECT_TRUE(result.train.has_loss_mask);
    EXPECT_THAT(texts_of(folder / "out.h5"), ElementsAre("plain", "1+1=2", "end")); // and it verifies
    const TokenFile file(folder / "out.h5");
    std::vector<uint8_t> mask(13);
    file.read_mask(0, mask);
    EXPECT_THAT(mask, ElementsAre(1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1));
    EXPECT_EQ(token_file_info(file)["num_label_tokens"], 9);
    EXPECT_EQ(token_file_info(file)["format_version"], 2);
    // Without a prompt there is no mask, and the file is as it was before there were any.
    write_file(folder / "b.jsonl", "{\"text\": \"plain\"}\n");
    build_token_file({.inputs = {folder / "b.jsonl"}, .output = folder / "plain.h5"});
    EXPECT_EQ(token_file_info(TokenFile(folder / "plain.h5"))["format_version"], 1);
}

TEST(build, half_a_pair_is_refused) {
    const TemporaryFolder folder;
    for (const auto& [line, problem] :
         {std::pair<std::string, std::string>{"{\"prompt\": \"a\"}", "expected the key 'text', found none"},
          {"{\"completion\": \"a\"}", "expected the key 'prompt', found none"},
          {"{\"prompt\": \"a\", \"completion\": 2}", "'completion': expected a string, found a number"},
          {"{\"prompt\": \"a\", \"completion\": \"\"}",
           "'completion': expected a text, found an empty one"}}) {
        write_file(folder / "a.jsonl", line + "\n");
        try {
            build_token_file({.inputs = {folder / "a.jsonl"}, .output = folder / "out.h5"});
            ADD_FAILURE() << line;
        } catch (const DataError& error) {
            EXPECT_THAT(error.what(), HasSubstr("a.jsonl: line 1: " + problem));
        }
    }
}

TEST(build, the_validation_split_follows_the_text_of_documents) {
    const TemporaryFolder folder;
    std::string lines, reversed;
    for (int i = 0; i < 3000; ++i) {
        const std::string line = fmt::format("{{\"text\": \"document {}\"}}\n", i % 2000); // a thousand twice
        lines += line;
        reversed = line + reversed;
    }
    write_file(folder / "a.jsonl", lines);
    write_file(folder / "b.jsonl", reversed);
    for (const char* name : {"a", "b"})
        build_token_file({.inputs = {folder / (std::string(name) + ".jsonl")},
                          .output = folder / (std::string(name) + "-train.h5"),
                          .validation = ValidationSplit{folder / (std::string(name) + "-valid.h5"), 0.2}});
    auto train = texts_of(folder / "a-train.h5"), valid = texts_of(folder / "a-valid.h5");
    EXPECT_EQ(train.size() + valid.size(), 3000u);
    // Binomial with 2,000 draws of 0.2: the standard deviation of the share is 0.009.
    const std::set<std::string> distinct(valid.begin(), valid.end());
    EXPECT_NEAR(static_cast<double>(distinct.size()) / 2000, 0.2, 0.045);
    for (const std::string& text : train) EXPECT_FALSE(distinct.contains(text)) << text;
    auto other_train = texts_of(folder / "b-train.h5"), other_valid = texts_of(folder / "b-valid.h5");
    for (auto* texts : {&train, &valid, &other_train, &other_valid}) std::sort(texts->begin(), texts->end());
    EXPECT_EQ(train, other_train);
    EXPECT_EQ(valid, other_valid);
}

TEST(build, failures_leave_no_file) {
    const TemporaryFolder folder;
    write_file(folder / "bad.jsonl", "{\"text\": \"good\"}\n{\"text\": 1}\n");
    write_file(folder / "empty.txt", "");
    write_file(folder / "good.txt", "good");
    const auto num_files = [&] {
        return std::distance(std::filesystem::directory_iterator(folder.path()),
                             std::filesystem::directory_iterator());
    };
    const BuildOptions options{.output = folder / "out.h5"};
    const auto with = [&](const std::vector<std::string>& inputs) {
        BuildOptions changed = options;
        changed.inputs = inputs;
        return changed;
    };
    EXPECT_THROW(build_token_file(with({folder / "bad.jsonl"})), DataError);
    EXPECT_THROW(build_token_file(with({folder / "empty.txt"})), DataError);
    EXPECT_THROW(build_token_file(with({folder / "missing.txt"})), DataError);
    BuildOptions split = with({folder / "good.txt"});
    split.validation = {folder / "valid.h5", 1e-9}; // nothing lands in it
    EXPECT_THROW(build_token_file(split), DataError);
    split.validation = {folder / "valid.h5", 1 - 1e-9}; // all land in it
    try {
        build_token_file(split);
        ADD_FAILURE() << "expected an error";
    } catch (const DataError& error) {
        EXPECT_THAT(error.what(), HasSubstr("good.txt: the split by fraction"));
        EXPECT_THAT(error.what(), HasSubstr("leaves no tokens for the training part"));
    }
    for (const double fraction : {0.0, 1.0, -0.5, static_cast<double>(NAN)}) {
        split.validation = {folder / "valid.h5", fraction};
        EXPECT_THROW(build_token_file(split), ConfigError) << fraction;
    }
    split.validation = {folder / "./out.h5", 0.5};
    EXPECT_THROW(build_token_file(split), ConfigError);
    BuildOptions tokenizer = with({folder / "good.txt"});
    tokenizer.tokenizer = "words";
    EXPECT_THROW(build_token_file(tokenizer), ConfigError);
    EXPECT_EQ(num_files(), 3);
}

TEST(build, an_output_is_replaced_only_when_told) {
    const TemporaryFolder folder;
    write_file(folder / "a.txt", "first");
    BuildOptions options{.inputs = {folder / "a.txt"}, .output = folder / "out.h5"};
    build_token_file(options);
    write_file(folder / "a.txt", "second");
    EXPECT_THROW(build_token_file(options), WriteError);
    EXPECT_THAT(texts_of(folder / "out.h5"), ElementsAre("first"));
    options.overwrite = Overwrite::yes;
    build_token_file(options);
    EXPECT_THAT(texts_of(folder / "out.h5"), ElementsAre("second"));
    options.inputs = {folder / "out.h5"};
    EXPECT_THROW(build_token_file(options), ConfigError); // the output would read itself
}

// The last moment at which a build can fail: when its files are given their names.
TEST(build, a_split_that_cannot_be_published_leaves_the_old_files) {
    const TemporaryFolder folder;
    std::string lines;
    for (int i = 0; i < 40; ++i) lines += fmt::format("{{\"text\": \"document {}\"}}\n", i);
    write_file(folder / "a.jsonl", lines);
    const auto names = [&] {
        std::set<std::string> found;
        for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
            found.insert(entry.path().filename());
        return found;
    };
    const std::string train = folder / "train.h5", valid = folder / "valid.h5";
    BuildOptions options{.inputs = {folder / "a.jsonl"},
                         .output = train,
                         .overwrite = Overwrite::yes,
                         .validation = ValidationSplit{valid, 0.5}};
    for (const std::string& blocked : {train, valid})
        for (const bool other_exists : {true, false}) {
            const std::string other = blocked == train ? valid : train;
            std::filesystem::remove_all(blocked);
            std::filesystem::remove_all(other);
            std::filesystem::create_directory(blocked); // a file cannot take its name
            if (other_exists) write_file(other, "old");
            const std::set<std::string> before = names();
            EXPECT_THROW(build_token_file(options), WriteError);
            EXPECT_EQ(names(), before) << blocked << other_exists;
            if (other_exists) {
                EXPECT_EQ(test::read_file(other), "old");
            }
        }
    std::filesystem::remove_all(valid);
    for (const std::string& path : {train, valid}) write_file(path, "old");
    build_token_file(options);
    EXPECT_EQ(texts_of(train).size() + texts_of(valid).size(), 40u);
    EXPECT_EQ(names(), (std::set<std::string>{"a.jsonl", "train.h5", "valid.h5"}));
}

TEST(inspect, info_tells_sizes_and_tokenizer) {
    const TemporaryFolder folder;
    test::write_texts(folder / "a.h5", {"abc", "", "defgh", "x"});
    const auto info = token_file_info(TokenFile(folder / "a.h5"));
    EXPECT_EQ(info.at("num_tokens"), 9);
    EXPECT_EQ(info.at("num_documents"), 4);
    EXPECT_EQ(info.at("num_bytes"), 9);
    EXPECT_EQ(info.at("token_type"), "u8");
    EXPECT_EQ(info.at("document_tokens").at("longest"), 5);
    EXPECT_EQ(info.at("document_tokens").at("shortest"), 0);
    EXPECT_EQ(info.at("document_tokens").at("empty"), 1);
    EXPECT_EQ(info.at("tokenizer").at("name"), "bytes");
    const std::string lines = to_lines(info);
    EXPECT_THAT(lines, HasSubstr("\nnum_tokens: 9\n"));
    EXPECT_THAT(lines, HasSubstr("\ntokenizer.vocab_size: 256\n"));
}

TEST(inspect, shows_documents_and_windows_as_safe_text) {
    const TemporaryFolder folder;
    test::write_texts(folder / "a.h5", {"abc\n", "d\x1b[31m\xff", "é\xc2\x9b"});
    const TokenFile file(folder / "a.h5");
    EXPECT_EQ(to_text(show_documents(file, 1, 5)),
              "--- document 1, 7 tokens\nd\\x1b[31m\\xff\n--- document 2, 4 tokens\né\\xc2\\x9b\n");
    EXPECT_EQ(to_text(show_windows(file, 3, 1, 1)), "--- window 1, 3 tokens\n\nd\\x1b\n");
    EXPECT_THROW(show_documents(file, 3, 1), DataError);
    EXPECT_THROW(show_windows(file, 3, 5, 1), DataError);
    EXPECT_THROW(show_windows(file, INT64_MAX, 0, 1), DataError);
}

TEST(inspect, only_valid_utf8_passes_unescaped) {
    EXPECT_EQ(escape_control("aé€😀\n\t"), "aé€😀\n\t");
    EXPECT_EQ(escape_control(std::string("\0\x7f", 2)), "\\x00\\x7f");
    EXPECT_EQ(escape_control("\xc0\xaf"), "\\xc0\\xaf");                   // overlong
    EXPECT_EQ(escape_control("\xe0\x80\xaf"), "\\xe0\\x80\\xaf");          // overlong
    EXPECT_EQ(escape_control("\xed\xa0\x80"), "\\xed\\xa0\\x80");          // a surrogate
    EXPECT_EQ(escape_control("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80"); // beyond U+10FFFF
    EXPECT_EQ(escape_control("\xe2\x82"), "\\xe2\\x82");                   // cut
}

TEST(tokenizer, bytes_round_trip) {
    const auto tokenizer = make_tokenizer("bytes");
    std::string text;
    for (int i = 0; i < 10000; ++i) text += static_cast<char>(i * 37);
    const std::vector<int32_t> tokens = encode(*tokenizer, text);
    EXPECT_EQ(tokens.size(), text.size());
    EXPECT_EQ(*std::max_element(tokens.begin(), tokens.end()), 255);
    EXPECT_EQ(tokenizer->decode(tokens), text);
    const std::vector<int32_t> outside{65, 256};
    EXPECT_THROW(tokenizer->decode(outside), DataError);
    EXPECT_EQ(make_tokenizer(tokenizer->identity())->identity(), tokenizer->identity());
    EXPECT_THROW(make_tokenizer(TokenizerIdentity{"bytes", 256, std::string(64, '0')}), DataError);
}

} // namespace
} // namespace braid
