#include "base/sha256.h"

#include <gtest/gtest.h>

#include "tests/support/temporary_folder.h"

namespace braid {
namespace {

// FIPS 180-4 examples.
TEST(sha256, published_values) {
    EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sha256_hex(std::string(1000000, 'a')),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(sha256, pieces_and_files_equal_the_whole) {
    std::string text(3000000, 'x');
    for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 2654435761u >> 11);
    Sha256 pieces;
    for (size_t start = 0, size = 1; start < text.size(); start += size, size = size * 3 + 1)
        pieces.update(std::string_view(text).substr(start, size));
    EXPECT_EQ(pieces.finish_hex(), sha256_hex(text));
    const test::TemporaryFolder folder;
    test::write_file(folder / "text", text);
    EXPECT_EQ(sha256_file_hex(folder / "text", ExitCode::data), sha256_hex(text));
}

TEST(sha256, missing_file_and_use_after_finish_are_errors) {
    const test::TemporaryFolder folder;
    EXPECT_THROW(sha256_file_hex(folder / "missing", ExitCode::data), Error);
    Sha256 hash;
    hash.finish();
    EXPECT_THROW(hash.update("x"), InternalError);
    EXPECT_THROW(hash.finish(), InternalError);
}

} // namespace
} // namespace braid
