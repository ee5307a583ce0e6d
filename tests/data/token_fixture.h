#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/token_file.h"

namespace braid::test {

/// The identity of a tokenizer that exists in tests only.
inline TokenizerIdentity test_identity(int64_t vocab_size) {
    return {"test", vocab_size, sha256_hex("a tokenizer of the tests")};
}

/// Writes documents of the given lengths; the token at global offset i is value(i), a document has two bytes
/// a token.
inline TokenFileSummary write_tokens(const std::string& path, const TokenizerIdentity& identity,
                                     const std::vector<int64_t>& lengths,
                                     const std::function<int32_t(int64_t)>& value) {
    TokenFileWriter writer(path, identity);
    int64_t next = 0;
    for (const int64_t length : lengths) {
        for (int64_t i = 0; i < length; ++i, ++next) {
            const int32_t token = value(next);
            writer.add_tokens({&token, 1});
        }
        writer.end_document(2 * length);
    }
    return writer.finish();
}

/// The same with tokens that are their own offsets, so that a test sees where each came from.
inline TokenFileSummary write_counting(const std::string& path, const std::vector<int64_t>& lengths,
                                       int64_t first = 0) {
    return write_tokens(path, test_identity(1 << 20), lengths,
                        [first](int64_t i) { return static_cast<int32_t>(first + i); });
}

/// A file of bytes, one document per text.
inline TokenFileSummary write_texts(const std::string& path, const std::vector<std::string>& texts) {
    const auto tokenizer = make_tokenizer("bytes");
    TokenFileWriter writer(path, tokenizer->identity());
    for (const std::string& text : texts) {
        writer.add_tokens(encode(*tokenizer, text));
        writer.end_document(static_cast<int64_t>(text.size()));
    }
    return writer.finish();
}

} // namespace braid::test
