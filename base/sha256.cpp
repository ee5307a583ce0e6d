#include "base/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/file_descriptor.h"

namespace braid {

struct Sha256::Context {
    EVP_MD_CTX* evp = EVP_MD_CTX_new();
    ~Context() { EVP_MD_CTX_free(evp); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
    check(context_->evp && EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1,
          "libcrypto offers no SHA-256");
}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::update(const void* data, size_t num_bytes) {
    check(context_ != nullptr, "Sha256::update after finish");
    check(EVP_DigestUpdate(context_->evp, data, num_bytes) == 1, "EVP_DigestUpdate failed");
}

Sha256::Digest Sha256::finish() {
    check(context_ != nullptr, "Sha256::finish called twice");
    Digest digest;
    unsigned size = 0;
    check(EVP_DigestFinal_ex(context_->evp, digest.data(), &size) == 1 && size == digest.size(),
          "EVP_DigestFinal_ex failed");
    context_.reset();
    return digest;
}

std::string Sha256::finish_hex() {
    std::string hex;
    for (uint8_t byte : finish()) hex += fmt::format("{:02x}", byte);
    return hex;
}

std::string sha256_hex(const void* data, size_t num_bytes) {
    Sha256 hash;
    hash.update(data, num_bytes);
    return hash.finish_hex();
}

std::string sha256_file_hex(const std::string& path, ExitCode code, const std::function<void()>& tick) {
    // O_NONBLOCK: a FIFO in the file's place must not hang the open.
    FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file) throw_error(code, fmt::format("{}: cannot open: {}", path, std::strerror(errno)));
    Sha256 hash;
    std::vector<char> buffer(1 << 20);
    for (;;) {
        const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw_error(code, fmt::format("{}: cannot read: {}", path, std::strerror(errno)));
        if (count == 0) return hash.finish_hex();
        hash.update(buffer.data(), static_cast<size_t>(count));
        if (tick) tick();
    }
}

} // namespace braid
