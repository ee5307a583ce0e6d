#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace braid {

/// What a token file records of the tokenizer that made it: two files fit together if these are equal.
struct TokenizerIdentity {
    std::string name;   // "bytes"
    int64_t vocab_size; // ids are 0 .. vocab_size - 1
    std::string sha256; // of what defines the tokenizer, 64 hexadecimal digits
    bool operator==(const TokenizerIdentity&) const = default;
};

/// Text to token ids and back. Tokenizers add no ids for the start or end of a document: borders live in the
/// document offsets of the token file.
class Tokenizer {
  public:
    using Sink = std::function<void(std::span<const int32_t>)>;

    virtual ~Tokenizer() = default;
    virtual const TokenizerIdentity& identity() const = 0;
    /// Hands the ids of a text, in order and in blocks of bounded size, to `sink`.
    virtual void encode(std::string_view text, const Sink& sink) const = 0;
    /// The id that ends a document in text of this tokenizer; none where borders are no ids.
    virtual std::optional<int32_t> document_end() const { return std::nullopt; }
    /// The text of ids; an id outside the vocabulary is a DataError. Any ids decode, but only whole
    /// characters are valid UTF-8.
    virtual std::string decode(std::span<const int32_t> tokens) const = 0;
};

/// The tokenizer of a name: "bytes", where ids are the values 0-255 of bytes. A name nobody knows is a
/// ConfigError.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name);
/// The tokenizer that made a token file or serves a checkpoint; an identity that none here has is a
/// DataError.
std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerIdentity& identity);

/// Tokens of a short text, for prompts.
std::vector<int32_t> encode(const Tokenizer& tokenizer, std::string_view text);

} // namespace braid
