#include "data/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "data/byte_stream.h"
#include "tests/support/temporary_folder.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using test::run_command;
using test::TemporaryFolder;
using test::write_file;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> documents(const std::string& path, const DocumentOptions& options = {}) {
    std::vector<std::string> found;
    read_documents(path, options, [&](const SourceDocument& d) { found.emplace_back(d.text); });
    return found;
}

std::string refusal(const std::string& path, const DocumentOptions& options = {}) {
    try {
        documents(path, options);
        return "no error";
    } catch (const DataError& error) {
        return error.what();
    }
}

std::string pack(const std::string& tool, const std::string& path) {
    const auto result = run_command(tool + " '" + path + "'");
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return path + (tool.starts_with("gzip") ? ".gz" : ".zst");
}

TEST(documents, a_text_file_is_one_document) {
    const TemporaryFolder folder;
    const std::string text = std::string("a\0b\r\n\xff", 6) + std::string(1 << 20, 'x');
    write_file(folder / "a.txt", text);
    EXPECT_THAT(documents(folder / "a.txt"), ElementsAre(text));
    write_file(folder / "empty.txt", "");
    EXPECT_THAT(documents(folder / "empty.txt"), ElementsAre(""));
}

TEST(documents, an_expression_splits_text_at_lines) {
    const TemporaryFolder folder;
    write_file(folder / "a.txt",
               "  preface\n\nAbbey \\Ab\"bey\\\n  A monastery\nAbbot, n.\n  The head\n\nlast");
    const DocumentOptions options{.document_start = "\\S"};
    EXPECT_THAT(documents(folder / "a.txt", options),
                ElementsAre("  preface\n\n", "Abbey \\Ab\"bey\\\n  A monastery\n",
                            "Abbot, n.\n  The head\n\n", "last"));
    EXPECT_THROW(documents(folder / "a.txt", {.document_start = "("}), ConfigError);
    // A long line must not overflow the stack of the matcher.
    write_file(folder / "long.txt", std::string(3000000, 'x') + "\ny\n");
    EXPECT_EQ(documents(folder / "long.txt", {.document_start = "(x|y)*z|y"}).size(), 2u);
}

TEST(documents, json_lines_give_their_text_field) {
    const TemporaryFolder folder;
    write_file(folder / "a.jsonl",
               "{\"text\": \"one\\n\\u00e9\", \"n\": [1, {\"text\": \"inner\"}]}\n\n"
               "  {\"id\": {\"text\": 3}, \"text\": \"\"}\r\n"
               "{\"body\": \"x\", \"text\": \"last\"}");
    EXPECT_THAT(documents(folder / "a.jsonl"), ElementsAre("one\né", "", "last"));
    fs::copy_file(folder / "a.jsonl", folder / "a.txt");
    EXPECT_EQ(documents(folder / "a.txt").size(), 1u);
    EXPECT_THAT(documents(folder / "a.txt", {.format = InputFormat::jsonl}),
                ElementsAre("one\né", "", "last"));
    write_file(folder / "b.ndjson", "{\"body\": \"x\"}\n");
    EXPECT_THAT(documents(folder / "b.ndjson", {.text_field = "body"}), ElementsAre("x"));
}

TEST(documents, bad_json_is_refused_by_file_and_line) {
    const TemporaryFolder folder;
    const auto with = [&](const std::string& line) {
        write_file(folder / "a.jsonl", "{\"text\": \"good\"}\n" + line + "\n");
        const std::string found = refusal(folder / "a.jsonl");
        EXPECT_THAT(found, HasSubstr("a.jsonl: line 2: ")) << line;
        return found;
    };
    EXPECT_THAT(with("{\"txt\": \"x\"}"), HasSubstr("expected the key 'text', found none"));
    EXPECT_THAT(with("{\"text\": 3}"), HasSubstr("'text': expected a string, found a number"));
    EXPECT_THAT(with("{\"text\": null}"), HasSubstr("found null"));
    EXPECT_THAT(with("{\"text\": [\"x\"]}"), HasSubstr("found a list"));
    EXPECT_THAT(with("{\"text\": {\"text\": \"x\"}}"), HasSubstr("found an object"));
    EXPECT_THAT(with("{\"text\": \"a\", \"text\": \"b\"}"), HasSubstr("twice"));
    EXPECT_THAT(with("[{\"text\": \"a\"}]"), HasSubstr("expected a JSON object, found a list"));
    EXPECT_THAT(with("\"text\""), HasSubstr("expected a JSON object, found a string"));
    EXPECT_THAT(with("{\"text\": \"a\"} x"), HasSubstr("not valid JSON"));
    EXPECT_THAT(with("{\"text\": \"a"), HasSubstr("not valid JSON"));
    EXPECT_THAT(with("{\"text\": \"\xff\"}"), HasSubstr("not valid JSON"));
    EXPECT_THAT(with(std::string(100000, '[')), HasSubstr("found a list"));
    EXPECT_THAT(with("{\"text\": \"a\", \"x\": " + std::string(100000, '[')), HasSubstr("not valid JSON"));
}

TEST(documents, json_in_a_file_called_json_is_never_text) {
    const TemporaryFolder folder;
    write_file(folder / "a.json", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
    EXPECT_THAT(documents(folder / "a.json"), ElementsAre("one", "two"));
    EXPECT_THAT(documents(pack("gzip -k", folder / "a.json")), ElementsAre("one", "two"));
    EXPECT_EQ(documents(folder / "a.json", {.format = InputFormat::text}).size(), 1u);
    write_file(folder / "b.json", "[{\"text\": \"one\"}, {\"text\": \"two\"}]\n");
    EXPECT_THAT(refusal(folder / "b.json"),
                AllOf(HasSubstr("b.json: line 1: expected a JSON object, found a list"),
                      HasSubstr("--format text takes it as text")));
    write_file(folder / "c.json", "{\n  \"text\": \"one\"\n}\n");
    EXPECT_THAT(refusal(folder / "c.json"), HasSubstr("c.json: line 1: not valid JSON"));
}

TEST(documents, json_on_standard_input_is_never_text) {
    const TemporaryFolder folder;
    const auto from_stdin = [&](const std::string& content, const DocumentOptions& options = {}) {
        write_file(folder / "in", content);
        const FileDescriptor file = open_regular_file(folder / "in", ExitCode::data, Symlinks::refuse);
        const FileDescriptor before(::dup(STDIN_FILENO));
        ::dup2(file.get(), STDIN_FILENO);
        std::vector<std::string> found;
        try {
            found = documents("-", options);
        } catch (const DataError& error) {
            found = {error.what()};
        }
        ::dup2(before.get(), STDIN_FILENO);
        return found;
    };
    const std::string lines = "\n {\"text\": \"one\"}\n{\"text\": \"two\"}\n";
    EXPECT_THAT(from_stdin(lines), ElementsAre("one", "two"));
    EXPECT_THAT(from_stdin("\xef\xbb\xbf" + lines.substr(2)), ElementsAre("one", "two"));
    EXPECT_THAT(from_stdin("{\"text\": \"" + std::string(2 << 20, 'x') + "\"}\n"),
                ElementsAre(std::string(2 << 20, 'x')));
    write_file(folder / "packed", lines);
    EXPECT_THAT(from_stdin(test::read_file(pack("gzip -k", folder / "packed"))), ElementsAre("one", "two"));
    EXPECT_THAT(from_stdin("[\n{\"text\": \"one\"}]"),
                ElementsAre(HasSubstr("standard input: line 1: expected a JSON object, found a list")));
    for (const char* text : {"", "{", "[1] A note.\n", "{{ template }}\n", "prose: {\"a\": 1}\n"})
        EXPECT_THAT(from_stdin(text), ElementsAre(text));
    EXPECT_THAT(from_stdin(lines, {.format = InputFormat::text}), ElementsAre(lines));
    EXPECT_EQ(from_stdin(lines, {.document_start = "\\S"}).size(), 2u);
}

TEST(documents, an_error_names_one_line) {
    const TemporaryFolder folder;
    write_file(folder / "a.jsonl", "{\"text\": \"a\"}\n{\"text\": nul}\n");
    EXPECT_THAT(refusal(folder / "a.jsonl"),
                AllOf(HasSubstr("a.jsonl: line 2: not valid JSON at byte 13: syntax error"),
                      Not(HasSubstr("line 1")), Not(HasSubstr("column"))));
}

TEST(documents, compressed_files_are_read_whatever_their_name) {
    const TemporaryFolder folder;
    const std::string lines = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
    for (const std::string tool : {"gzip -k", "zstd -qk"}) {
        write_file(folder / "a.jsonl", lines);
        EXPECT_THAT(documents(pack(tool, folder / "a.jsonl")), ElementsAre("one", "two")) << tool;
        std::string text;
        for (int i = 0; i < 200000; ++i) text += std::to_string(i * 7919 % 100003) + " ";
        write_file(folder / "b.txt", text);
        const std::string packed = pack(tool, folder / "b.txt");
        EXPECT_THAT(documents(packed), ElementsAre(text)) << tool;
        fs::rename(packed, folder / "b.dz");
        EXPECT_THAT(documents(folder / "b.dz"), ElementsAre(text)) << tool;
        // Members one after another are one stream; so is an empty one.
        write_file(folder / "c.txt", test::read_file(folder / "b.dz") + test::read_file(folder / "b.dz"));
        EXPECT_THAT(documents(folder / "c.txt"), ElementsAre(text + text)) << tool;
        write_file(folder / "e.txt", "");
        EXPECT_THAT(documents(pack(tool, folder / "e.txt")), ElementsAre("")) << tool;
    }
}

TEST(documents, padding_and_skippable_frames_are_read_over) {
    const TemporaryFolder folder;
    write_file(folder / "a.txt", "text");
    const std::string gzip = test::read_file(pack("gzip -k", folder / "a.txt"));
    for (const size_t padding : {size_t{1}, size_t{512}, size_t{1} << 19}) {
        write_file(folder / "padded", gzip + std::string(padding, '\0'));
        EXPECT_THAT(documents(folder / "padded"), ElementsAre("text")) << padding;
        write_file(folder / "padded", gzip + std::string(padding, '\0') + gzip);
        EXPECT_THAT(documents(folder / "padded"), ElementsAre("texttext")) << padding;
    }
    write_file(folder / "padded", gzip + std::string(9, '\0') + "trailing bytes");
    EXPECT_THAT(refusal(folder / "padded"), HasSubstr("not valid gzip data"));
    const std::string zstd = test::read_file(pack("zstd -qk", folder / "a.txt"));
    const std::string skippable("\x5f\x2a\x4d\x18\x03\0\0\0abc", 11);
    for (const std::string& content : {skippable + zstd, zstd + skippable, skippable + zstd + skippable}) {
        write_file(folder / "frames", content);
        EXPECT_THAT(documents(folder / "frames"), ElementsAre("text"));
    }
}

TEST(documents, containers_that_are_not_read_are_refused) {
    const TemporaryFolder folder;
    const std::vector<std::pair<std::string, std::string>> containers{
        {std::string("\xfd\x37zXZ\0\0\x04", 8), "xz data"},
        {"BZh9\x31\x41\x59\x26\x53\x59", "bzip2 data"},
        {"\x04\x22\x4d\x18rest", "lz4 data"},
        {"PK\x03\x04rest", "a zip archive"},
        {"PAR1\x15\x04", "a Parquet file"},
        {"\x89HDF\r\n\x1a\nrest", "an HDF5 file"},
        {std::string(257, 'n') + "ustar" + std::string(300, ' '), "a tar archive"}};
    for (const auto& [content, name] : containers) {
        write_file(folder / "a.txt", content);
        EXPECT_THAT(refusal(folder / "a.txt"),
                    HasSubstr("a.txt: expected text or JSON lines, found " + name));
        EXPECT_THAT(refusal(folder / "a.txt", {.format = InputFormat::jsonl}), HasSubstr(name));
        for (const std::string tool : {"gzip -kf", "zstd -qkf"})
            EXPECT_THAT(refusal(pack(tool, folder / "a.txt")), HasSubstr("found " + name + " inside"))
                << tool;
    }
    write_file(folder / "a.txt", "PAR1 and BZh9 and PK are words");
    EXPECT_EQ(documents(folder / "a.txt").size(), 1u);
}

TEST(documents, damaged_compressed_files_are_refused) {
    const TemporaryFolder folder;
    std::string text;
    for (int i = 0; i < 50000; ++i) text += std::to_string(i * 7919 % 100003) + " ";
    write_file(folder / "a.txt", text);
    for (const std::string tool : {"gzip -k", "zstd -qk --check"}) {
        const std::string packed = test::read_file(pack(tool, folder / "a.txt"));
        for (const size_t size : {packed.size() / 2, packed.size() - 1}) {
            write_file(folder / "cut", packed.substr(0, size));
            EXPECT_THAT(refusal(folder / "cut"), HasSubstr("the compressed data is cut")) << tool;
        }
        std::string changed = packed;
        changed[packed.size() / 2] ^= 0x10;
        write_file(folder / "changed", changed);
        EXPECT_THAT(refusal(folder / "changed"), HasSubstr("not valid")) << tool;
        write_file(folder / "longer", packed + "trailing bytes");
        EXPECT_THAT(refusal(folder / "longer"), HasSubstr("not valid")) << tool;
    }
}

TEST(documents, decompression_bombs_are_refused) {
    const TemporaryFolder folder;
    // 128 MiB of zeros in a hundred kilobytes or less, as one text and as one line.
    for (const std::string tool : {"gzip", "zstd -q"}) {
        const auto made = run_command("head -c 128M /dev/zero | " + tool + " > '" + folder / "bomb'");
        ASSERT_EQ(made.exit_code, 0) << made.output;
        const std::string found = refusal(folder / "bomb", {.max_document_bytes = 40 << 20});
        EXPECT_TRUE(found.find("expands more than 1000-fold") != std::string::npos ||
                    found.find("one document of more than 41943040 bytes") != std::string::npos)
            << found;
        EXPECT_NE(refusal(folder / "bomb", {.format = InputFormat::jsonl, .max_document_bytes = 1 << 20}),
                  "no error");
    }
    // Endless short lines stay below any line cap: only the expansion stops them.
    const auto made = run_command("yes '' | head -c 64M | zstd -q > '" + folder / "lines'");
    ASSERT_EQ(made.exit_code, 0) << made.output;
    EXPECT_THAT(refusal(folder / "lines", {.format = InputFormat::jsonl}),
                HasSubstr("expands more than 1000-fold"));
}

TEST(documents, long_documents_are_refused_where_they_are) {
    const TemporaryFolder folder;
    write_file(folder / "a.txt", "short\n" + std::string(3 << 20, 'x') + "\n");
    EXPECT_THAT(refusal(folder / "a.txt", {.max_document_bytes = 1 << 20}),
                HasSubstr("one document of more than"));
    EXPECT_THAT(refusal(folder / "a.txt", {.document_start = "y", .max_document_bytes = 1 << 20}),
                HasSubstr("line 2"));
    EXPECT_THAT(refusal(folder / "a.txt", {.format = InputFormat::jsonl}), HasSubstr("line 1"));
}

TEST(documents, folders_are_listed_in_order) {
    const TemporaryFolder folder;
    fs::create_directories(folder / "in/b/deep");
    fs::create_directories(folder / "in/.hidden");
    for (const char* name :
         {"in/z.txt", "in/b/deep/1.txt", "in/b/0.txt", "in/a.txt", "in/.hidden/x", "in/.dot"})
        write_file(folder / name, "x");
    fs::create_symlink("../outside.txt", folder / "in/c.txt");
    write_file(folder / "outside.txt", "y");
    EXPECT_THAT(list_input_files({folder / "outside.txt", folder / "in"}),
                ElementsAre(folder / "outside.txt", folder / "in/a.txt", folder / "in/b/0.txt",
                            folder / "in/b/deep/1.txt", folder / "in/c.txt", folder / "in/z.txt"));
    EXPECT_THROW(list_input_files({"-", "-"}), DataError);
}

TEST(documents, odd_inputs_are_refused) {
    const TemporaryFolder folder;
    fs::create_directories(folder / "empty");
    EXPECT_THROW(list_input_files({folder / "empty"}), DataError);
    fs::create_directories(folder / "linked");
    fs::create_directory_symlink("../empty", folder / "linked/folder");
    EXPECT_THROW(list_input_files({folder / "linked"}), DataError);
    fs::create_directories(folder / "pipe");
    ASSERT_EQ(::mkfifo((folder / "pipe/fifo").c_str(), 0600), 0);
    EXPECT_THROW(list_input_files({folder / "pipe"}), DataError);
    EXPECT_THAT(refusal(folder / "pipe/fifo"), HasSubstr("expected a regular file"));
    EXPECT_THAT(refusal(folder / "missing"), HasSubstr("No such file"));
}

TEST(line_reader, lines_keep_their_ends_and_are_counted) {
    const TemporaryFolder folder;
    const std::string longer(600000, 'l');
    write_file(folder / "a", "one\n\n" + longer + "\nlast");
    LineReader lines(folder / "a", 1 << 20);
    std::string line;
    for (const std::string& expected :
         {std::string("one\n"), std::string("\n"), longer + "\n", std::string("last")}) {
        ASSERT_TRUE(lines.next(&line));
        EXPECT_EQ(line, expected);
    }
    EXPECT_EQ(lines.line_number(), 4);
    EXPECT_FALSE(lines.next(&line));
    EXPECT_FALSE(lines.next(&line));
}

} // namespace
} // namespace braid
