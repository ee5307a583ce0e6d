#include "data/tokenizer.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.h"
#include "base/sha256.h"

namespace braid {

namespace {

class ByteTokenizer : public Tokenizer {
  public:
    const TokenizerIdentity& identity() const override { return identity_; }

    void encode(std::string_view text, const Sink& sink) const override {
        std::array<int32_t, 4096> block;
        for (size_t start = 0; start < text.size(); start += block.size()) {
            const std::string_view part = text.substr(start, block.size());
            std::transform(part.begin(), part.end(), block.begin(),
                           [](char c) { return static_cast<uint8_t>(c); });
            sink({block.data(), part.size()});
        }
    }

    std::string decode(std::span<const int32_t> tokens) const override {
        std::string text;
        text.reserve(tokens.size());
        for (int32_t token : tokens) {
            if (token < 0 || token > 255) throw DataError("token {} is not a byte (0-255)", token);
            text += static_cast<char>(token);
        }
        return text;
    }

  private:
    // Bytes have no definition file; the hashed sentence stands for one.
    const TokenizerIdentity identity_{"bytes", 256,
                                      sha256_hex("braid tokenizer bytes: the id of a byte is its value")};
};

} // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name) {
    if (name == "bytes") return std::make_unique<ByteTokenizer>();
    throw ConfigError("tokenizer: expected 'bytes', found '{}'", name);
}

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerIdentity& identity) {
    auto bytes = std::make_unique<ByteTokenizer>();
    if (bytes->identity() == identity) return bytes;
    throw DataError("expected the tokenizer 'bytes' of 256 ids, found '{}' of {} ids with SHA-256 {}",
                    identity.name, identity.vocab_size, identity.sha256);
}

std::vector<int32_t> encode(const Tokenizer& tokenizer, std::string_view text) {
    std::vector<int32_t> tokens;
    tokenizer.encode(text, [&](std::span<const int32_t> block) {
        tokens.insert(tokens.end(), block.begin(), block.end());
    });
    return tokens;
}

} // namespace braid
