#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"

namespace braid {

/// Incremental SHA-256 (FIPS 180-4).
class Sha256 {
  public:
    using Digest = std::array<uint8_t, 32>;

    Sha256();
    Sha256(Sha256&&) noexcept;
    Sha256& operator=(Sha256&&) noexcept;
    ~Sha256();

    void update(const void* data, size_t num_bytes);
    void update(std::string_view text) { update(text.data(), text.size()); }
    /// The digest of everything so far; the object cannot be used afterwards.
    Digest finish();
    /// finish(), as 64 lower-case hexadecimal digits.
    std::string finish_hex();

  private:
    struct Context;
    std::unique_ptr<Context> context_;
};

std::string sha256_hex(const void* data, size_t num_bytes);
inline std::string sha256_hex(std::string_view text) {
    return sha256_hex(text.data(), text.size());
}

/// The SHA-256 of a whole regular file, read in pieces, with a call of `tick`, where given, after each MiB. A
/// file that cannot be read is an Error with `code`.
std::string sha256_file_hex(const std::string& path, ExitCode code, const std::function<void()>& tick = {});

} // namespace braid
