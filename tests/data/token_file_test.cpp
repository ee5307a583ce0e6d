#include "data/token_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "tests/data/token_fixture.h"
#include "tests/support/temporary_folder.h"

namespace braid {
namespace {

using test::run_python;
using test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int32_t> read_all(const TokenFile& file) {
    std::vector<int32_t> tokens(static_cast<size_t>(file.num_tokens()));
    file.read(0, tokens);
    return tokens;
}

/// What opening, verifying and reading a file ends in.
std::string outcome(const std::string& path) {
    try {
        const TokenFile file(path);
        file.verify();
        return "good";
    } catch (const DataError& error) {
        return error.what();
    }
}

struct Change {
    std::string statements; // Python that changes the open file f
    std::string refusal;    // a part of the message it must end in
};

/// Makes a good file per change, applies the change with h5py, and opens and verifies it.
void expect_refusals(const std::vector<Change>& changes) {
    const TemporaryFolder folder;
    std::string script = "import h5py, shutil, sys, os, numpy as np\nos.chdir(sys.argv[1])\n";
    test::write_tokens(folder / "good.h5", test::test_identity(100), {3, 0, 5, 2},
                       [](int64_t i) { return static_cast<int32_t>(i); });
    for (size_t i = 0; i < changes.size(); ++i)
        script +=
            fmt::format("shutil.copy('good.h5', '{0}.h5')\nwith h5py.File('{0}.h5', 'r+') as f:\n    {1}\n",
                        i, changes[i].statements);
    const auto result = run_python(script, folder.path());
    ASSERT_EQ(result.exit_code, 0) << result.output;
    for (size_t i = 0; i < changes.size(); ++i) {
        const std::string path = folder / fmt::format("{}.h5", i), found = outcome(path);
        EXPECT_THAT(found, HasSubstr(changes[i].refusal)) << changes[i].statements;
        EXPECT_TRUE(found == "good" || found.find(path) != std::string::npos) << found;
    }
}

TEST(token_file, round_trips_in_the_smallest_type) {
    const TemporaryFolder folder;
    struct Case {
        int64_t vocab_size;
        DType dtype;
    };
    for (const auto& [vocab_size, dtype] :
         {Case{2, DType::u8}, Case{256, DType::u8}, Case{257, DType::u16}, Case{65536, DType::u16},
          Case{65537, DType::i32}, Case{INT32_MAX, DType::i32}}) {
        const std::string path = folder / fmt::format("{}.h5", vocab_size);
        const auto value = [&](int64_t i) { return static_cast<int32_t>((vocab_size - 1) * (i % 5) / 4); };
        const TokenFileSummary summary =
            test::write_tokens(path, test::test_identity(vocab_size), {3, 4, 1}, value);
        const TokenFile file(path);
        EXPECT_EQ(file.summary().dtype, dtype);
        EXPECT_EQ(file.summary().fingerprint, summary.fingerprint);
        EXPECT_EQ(file.summary().tokenizer, test::test_identity(vocab_size));
        EXPECT_THAT(file.document_offsets(), ElementsAre(0, 3, 7, 8));
        EXPECT_THAT(file.document_bytes(), ElementsAre(6, 8, 2));
        const std::vector<int32_t> tokens = read_all(file);
        for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(tokens[static_cast<size_t>(i)], value(i));
        file.verify();
    }
}

TEST(token_file, h5py_reads_the_documented_names) {
    const TemporaryFolder folder;
    test::write_texts(folder / "file.h5", {"héllo", "", "ab"});
    const auto result = run_python(R"(
import h5py, hashlib, sys
f = h5py.File(sys.argv[1], 'r')
assert sorted(f) == ['document_bytes', 'document_offsets', 'tokens'], sorted(f)
assert f['tokens'].dtype == 'uint8' and bytes(f['tokens'][:]) == 'hélloab'.encode()
assert f['document_offsets'].dtype == 'int64' and f['document_offsets'][:].tolist() == [0, 6, 6, 8]
assert f['document_bytes'].dtype == 'int64' and f['document_bytes'][:].tolist() == [6, 0, 2]
a = {k: v.decode() if isinstance(v, bytes) else v for k, v in f.attrs.items()}
assert a['format'] == 'braid tokens' and a['format_version'] == 1, a
assert (a['num_tokens'], a['num_documents'], a['num_bytes'], a['vocab_size']) == (8, 3, 8, 256), a
assert a['tokenizer_name'] == 'bytes' and len(a['tokenizer_sha256']) == 64, a
sha = lambda d: hashlib.sha256(d[:].tobytes()).hexdigest()
text = '\n'.join(['braid tokens 1', 'bytes', '256', a['tokenizer_sha256'], 'u8', '8', '3',
                  sha(f['tokens']), sha(f['document_offsets']), sha(f['document_bytes'])]) + '\n'
assert hashlib.sha256(text.encode()).hexdigest() == a['fingerprint'], a
)",
                                   folder / "file.h5");
    EXPECT_EQ(result.exit_code, 0) << result.output;
}

TEST(token_file, larger_than_the_buffers_of_the_writer) {
    const TemporaryFolder folder;
    const std::vector<int64_t> lengths(150, 7001); // 1.05 million tokens of 4 bytes
    test::write_tokens(folder / "file.h5", test::test_identity(1 << 21), lengths,
                       [](int64_t i) { return static_cast<int32_t>(i); });
    const TokenFile file(folder / "file.h5");
    file.verify();
    std::vector<int32_t> tokens(5000);
    for (const int64_t first : {int64_t{0}, int64_t{262140}, int64_t{1045000}, file.num_tokens() - 5000}) {
        file.read(first, tokens);
        for (int64_t i = 0; i < 5000; ++i) ASSERT_EQ(tokens[static_cast<size_t>(i)], first + i);
    }
    EXPECT_THROW(file.read(file.num_tokens() - 4999, tokens), InternalError);
}

TEST(token_file, the_writer_refuses_what_a_reader_would) {
    const TemporaryFolder folder;
    {
        TokenFileWriter writer(folder / "file.h5", test::test_identity(10));
        for (const int32_t token : {10, -1, INT32_MAX})
            EXPECT_THROW(writer.add_tokens({&token, 1}), DataError);
        writer.end_document(0);
        EXPECT_THROW(writer.finish(), DataError); // no tokens
    }
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    test::write_texts(folder / "file.h5", {"a"});
    EXPECT_THROW(test::write_texts(folder / "file.h5", {"b"}), WriteError);
}

TEST(token_file, the_fingerprint_covers_tokens_borders_bytes_and_tokenizer) {
    const TemporaryFolder folder;
    std::set<std::string> seen;
    int number = 0;
    const auto add = [&](const std::vector<std::string>& texts) {
        seen.insert(test::write_texts(folder / fmt::format("{}.h5", number++), texts).fingerprint);
    };
    add({"abcd"});
    add({"abce"});
    add({"ab", "cd"});
    add({"", "abcd"});
    TokenFileWriter bytes(folder / "bytes.h5", make_tokenizer("bytes")->identity());
    bytes.add_tokens(encode(*make_tokenizer("bytes"), "abcd"));
    bytes.end_document(5);
    seen.insert(bytes.finish().fingerprint);
    seen.insert(test::write_tokens(folder / "other.h5", test::test_identity(256), {4}, [](int64_t i) {
                    return static_cast<int32_t>('a' + i);
                }).fingerprint);
    EXPECT_EQ(seen.size(), 6u);
    EXPECT_EQ(test::write_texts(folder / "again.h5", {"abcd"}).fingerprint,
              TokenFile(folder / "0.h5").summary().fingerprint);
}

TEST(token_file, changed_files_are_refused_by_name) {
    expect_refusals({
        {"pass", "good"},
        {"f['tokens'][4] = 50", "fingerprint: expected"},
        {"f['document_bytes'][0] += 1; f['document_bytes'][2] -= 1", "fingerprint: expected"},
        {"f['tokens'][4] = 100", "token 100 at offset 4 is outside the vocabulary of 100 ids"},
        {"f['document_offsets'][1] = 4; f['document_offsets'][2] = 3", "entry 1 is 4, the next is 3"},
        {"f['document_offsets'][-1] = 11", "from 0 to 10"},
        {"f['document_offsets'][0] = -1", "from 0 to 10"},
        {"f['document_bytes'][0] = -1", "entry 0 is -1"},
        {"f['document_bytes'][0] = 2**62; f['document_bytes'][2] = 2**62", "document_bytes"},
        {"f['document_bytes'][0] += 1", "num_bytes = 20, found 21"},
        {"del f['tokens']", "expected the datasets"},
        {"f['extra'] = 1", "expected the datasets"},
        {"f['extra'] = h5py.ExternalLink('other.h5', '/')", "hard links"},
        {"d = f['tokens'][:]; del f['tokens']; f['tokens'] = d[:9]", "[num_tokens = 10], found [9]"},
        {"d = f['tokens'][:]; del f['tokens']; f['tokens'] = d.astype('f4')",
         "expected u8, u16 or i32, found f32"},
        {"d = f['tokens'][:]; del f['tokens'];"
         " f.create_dataset('tokens', data=d, chunks=(5,), compression='gzip')",
         "expected contiguous storage"},
        {"d = f['document_offsets'][:]; del f['document_offsets'];"
         " f['document_offsets'] = d.astype('i4')",
         "document_offsets: expected i64 [5], found i32 [5]"},
        {"del f['document_bytes']; f['document_bytes'] = np.zeros(3, 'i8')",
         "document_bytes: expected i64 [4], found i64 [3]"},
    });
}

TEST(token_file, changed_attributes_are_refused_by_name) {
    const auto set = [](const std::string& name, const std::string& value) {
        return "del f.attrs['" + name + "']; f.attrs['" + name + "'] = " + value;
    };
    expect_refusals({
        {set("format", "np.bytes_('something else')"), "expected a token file"},
        {"del f.attrs['format']", "expected a token file"},
        {set("format_version", "np.int64(3)"), "format_version: expected 1 or 2, found 3"},
        {set("format_version", "np.int64(2)"), "document_offsets, loss_mask, tokens, found"},
        {set("vocab_size", "np.int64(0)"), "vocab_size"},
        {set("vocab_size", "np.int64(2**40)"), "vocab_size"},
        {set("vocab_size", "np.int64(9)"), "token 9 at offset 9"},
        {set("num_documents", "np.int64(2**40)"), "num_documents"},
        {set("num_documents", "np.int64(2**20)"), "document_offsets: expected i64 [1048577]"},
        {set("num_tokens", "np.int64(2**50)"), "num_tokens"},
        {set("num_tokens", "np.float64(10)"), "num_tokens"},
        {set("fingerprint", "np.bytes_('xyz')"), "fingerprint"},
        {set("tokenizer_sha256", "np.bytes_('A' * 64)"), "tokenizer_sha256"},
        {set("tokenizer_name", "'a variable-length string'"), "tokenizer_name"},
    });
}

// A few kilobytes that claim terabytes are refused by their claim, not by running out of memory.
TEST(token_file, giant_claims_are_refused) {
    expect_refusals({
        {"del f['tokens']; f.create_dataset('tokens', (1 << 43,), 'u1');"
         " f.attrs['num_tokens'] = np.int64(1 << 43)",
         "needs 8796093022208 bytes"},
        {"del f['document_offsets']; f.create_dataset('document_offsets', ((1 << 29) + 1,), 'i8');"
         " f.attrs['num_documents'] = np.int64(1 << 29)",
         "needs 4294967304 bytes"},
    });
}

TEST(token_file, cut_and_foreign_files_are_refused) {
    const TemporaryFolder folder;
    test::write_texts(folder / "file.h5", {std::string(5000, 'x')});
    const std::string content = test::read_file(folder / "file.h5");
    for (const size_t size : {size_t{0}, size_t{1}, size_t{100}, content.size() / 2, content.size() - 1}) {
        test::write_file(folder / "cut.h5", content.substr(0, size));
        EXPECT_THAT(outcome(folder / "cut.h5"), HasSubstr("cut.h5")) << size;
    }
    EXPECT_THAT(outcome(folder / "missing.h5"), HasSubstr("missing.h5: cannot open: No such file"));
    EXPECT_THAT(outcome(folder.path()), HasSubstr("found a folder"));
    run_python("import h5py, sys\nh5py.File(sys.argv[1], 'w')['x'] = 1", folder / "foreign.h5");
    EXPECT_THAT(outcome(folder / "foreign.h5"), HasSubstr("expected a token file"));
    std::filesystem::create_symlink("file.h5", folder / "link.h5");
    EXPECT_EQ(outcome(folder / "link.h5"), "good"); // the user named it
}

TEST(token_file, every_flipped_bit_is_found) {
    const TemporaryFolder folder;
    test::write_texts(folder / "file.h5", {"some text", "more"});
    const std::string content = test::read_file(folder / "file.h5");
    const auto original = read_all(TokenFile(folder / "file.h5"));
    const unsigned seed = 11;
    std::mt19937 random(seed);
    int found = 0;
    for (int trial = 0; trial < 200; ++trial) {
        std::string changed = content;
        const size_t bit = random() % (8 * content.size());
        changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
        test::write_file(folder / "flipped.h5", changed);
        if (outcome(folder / "flipped.h5") != "good") {
            ++found;
            continue;
        }
        // A bit between the objects that means nothing may flip; what is read must not change.
        const TokenFile file(folder / "flipped.h5");
        EXPECT_EQ(read_all(file), original) << "seed " << seed << ", bit " << bit;
        EXPECT_EQ(file.document_offsets(), TokenFile(folder / "file.h5").document_offsets());
    }
    EXPECT_GT(found, 50) << "seed " << seed;
}

} // namespace
} // namespace braid
