#include "data/token_file.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>

#include "base/error.h"

namespace braid {

namespace {

constexpr const char* kFormat = "braid tokens";
// 8 GiB of offsets: more than any corpus, and a bound on what a file can make a reader allocate.
constexpr int64_t kMaxDocuments = int64_t{1} << 30;

bool is_sha256_hex(const std::string& text) {
    return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

int64_t version_of(const TokenFileSummary& summary) {
    return summary.has_loss_mask ? kMaskedTokenFileVersion : kTokenFileVersion;
}

template <typename T>
void widen(const std::vector<uint8_t>& raw, std::span<int32_t> out) {
    for (size_t i = 0; i < out.size(); ++i) {
        T value;
        std::memcpy(&value, raw.data() + i * sizeof(T), sizeof(T));
        out[i] = static_cast<int32_t>(value);
    }
}

} // namespace

DType token_dtype(int64_t vocab_size) {
    check(vocab_size >= 1 && vocab_size <= INT32_MAX, "a vocabulary of {} ids", vocab_size);
    return vocab_size <= 256 ? DType::u8 : vocab_size <= 65536 ? DType::u16 : DType::i32;
}

std::string token_fingerprint(const TokenFileSummary& summary, const std::string& tokens_sha256,
                              const std::string& offsets_sha256, const std::string& bytes_sha256,
                              const std::string& mask_sha256) {
    return sha256_hex(fmt::format("{} {}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}", kFormat,
                                  version_of(summary), summary.tokenizer.name, summary.tokenizer.vocab_size,
                                  summary.tokenizer.sha256, name_of(summary.dtype), summary.num_tokens,
                                  summary.num_documents, tokens_sha256, offsets_sha256, bytes_sha256,
                                  summary.has_loss_mask ? mask_sha256 + "\n" : ""));
}

/// Bytes on their way into a dataset whose length is not known yet, hashed as they pass.
class TokenFileWriter::Spool {
  public:
    explicit Spool(const std::string& path) : path_(path), file_(create_file(path, 0600)) {
        // Without a name, nothing is left behind however the process ends.
        if (::unlink(path.c_str()) != 0)
            throw WriteError("{}: cannot unlink: {}", path, std::strerror(errno));
    }

    void add(const void* data, size_t num_bytes) {
        hash_.update(data, num_bytes);
        const auto* bytes = static_cast<const uint8_t*>(data);
        buffer_.insert(buffer_.end(), bytes, bytes + num_bytes);
        num_bytes_ += static_cast<int64_t>(num_bytes);
        if (buffer_.size() >= kBufferBytes) flush();
    }

    std::string finish_hash() {
        flush();
        return hash_.finish_hex();
    }

    void copy_to(int target, int64_t offset, const std::string& target_path) {
        std::vector<uint8_t> block(kBufferBytes);
        for (int64_t done = 0; done < num_bytes_;) {
            const size_t count = static_cast<size_t>(std::min<int64_t>(kBufferBytes, num_bytes_ - done));
            read_all_at(file_.get(), block.data(), count, done, path_, ExitCode::cannot_write);
            write_all_at(target, block.data(), count, offset + done, target_path);
            done += static_cast<int64_t>(count);
        }
    }

  private:
    static constexpr size_t kBufferBytes = 1 << 20;

    void flush() {
        write_all(file_.get(), buffer_.data(), buffer_.size(), path_);
        buffer_.clear();
    }

    std::string path_;
    FileDescriptor file_;
    Sha256 hash_;
    std::vector<uint8_t> buffer_;
    int64_t num_bytes_ = 0;
};

TokenFileWriter::TokenFileWriter(const std::string& path, TokenizerIdentity tokenizer, Overwrite overwrite)
    : output_(path, overwrite) {
    summary_.dtype = token_dtype(tokenizer.vocab_size);
    summary_.tokenizer = std::move(tokenizer);
    tokens_ = std::make_unique<Spool>(output_.path() + ".tokens");
    offsets_ = std::make_unique<Spool>(output_.path() + ".offsets");
    bytes_ = std::make_unique<Spool>(output_.path() + ".bytes");
    const int64_t first = 0;
    offsets_->add(&first, sizeof first);
}

TokenFileWriter::~TokenFileWriter() = default;

void TokenFileWriter::add_tokens(std::span<const int32_t> tokens, bool count_as_labels) {
    if (!count_as_labels && !mask_ && !tokens.empty()) {
        mask_ = std::make_unique<Spool>(output_.path() + ".mask");
        const std::vector<uint8_t> ones(1 << 16, 1); // all before counted
        for (int64_t left = summary_.num_tokens; left > 0; left -= static_cast<int64_t>(ones.size()))
            mask_->add(ones.data(), std::min(ones.size(), static_cast<size_t>(left)));
    }
    if (mask_) {
        packed_.assign(tokens.size(), count_as_labels ? 1 : 0);
        mask_->add(packed_.data(), packed_.size());
    }
    const size_t width = size_of(summary_.dtype);
    packed_.resize(tokens.size() * width);
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (tokens[i] < 0 || tokens[i] >= summary_.tokenizer.vocab_size)
            throw DataError("{}: token {} at offset {} is outside the vocabulary of {} ids", output_.target(),
                            tokens[i], summary_.num_tokens + static_cast<int64_t>(i),
                            summary_.tokenizer.vocab_size);
        std::memcpy(packed_.data() + i * width, &tokens[i], width); // little-endian: the low bytes come first
    }
    tokens_->add(packed_.data(), packed_.size());
    summary_.num_tokens += static_cast<int64_t>(tokens.size());
}

void TokenFileWriter::end_document(int64_t num_bytes) {
    check(num_bytes >= 0, "a document of {} bytes", num_bytes);
    if (summary_.num_documents == kMaxDocuments)
        throw DataError("{}: more than {} documents", output_.target(), kMaxDocuments);
    offsets_->add(&summary_.num_tokens, sizeof summary_.num_tokens);
    bytes_->add(&num_bytes, sizeof num_bytes);
    ++summary_.num_documents;
    summary_.num_bytes += num_bytes;
}

TokenFileSummary TokenFileWriter::finish() {
    const TokenFileSummary made = write();
    publish();
    return made;
}

TokenFileSummary TokenFileWriter::write() {
    if (summary_.num_tokens == 0) throw DataError("{}: the input has no tokens", output_.target());
    summary_.has_loss_mask = mask_ != nullptr;
    summary_.fingerprint = token_fingerprint(summary_, tokens_->finish_hash(), offsets_->finish_hash(),
                                             bytes_->finish_hash(), mask_ ? mask_->finish_hash() : "");
    Hdf5File file = Hdf5File::create(output_.path());
    const int64_t offsets_at =
        file.create_dataset("document_offsets", DType::i64, {summary_.num_documents + 1}).offset;
    const int64_t bytes_at =
        file.create_dataset("document_bytes", DType::i64, {summary_.num_documents}).offset;
    const int64_t tokens_at = file.create_dataset("tokens", summary_.dtype, {summary_.num_tokens}).offset;
    const int64_t mask_at =
        mask_ ? file.create_dataset("loss_mask", DType::u8, {summary_.num_tokens}).offset : 0;
    file.write_attribute("/", "format", kFormat);
    file.write_attribute("/", "format_version", version_of(summary_));
    file.write_attribute("/", "num_tokens", summary_.num_tokens);
    file.write_attribute("/", "num_documents", summary_.num_documents);
    file.write_attribute("/", "num_bytes", summary_.num_bytes);
    file.write_attribute("/", "tokenizer_name", summary_.tokenizer.name);
    file.write_attribute("/", "tokenizer_sha256", summary_.tokenizer.sha256);
    file.write_attribute("/", "vocab_size", summary_.tokenizer.vocab_size);
    file.write_attribute("/", "fingerprint", summary_.fingerprint);
    file.close();
    {
        const FileDescriptor made(::open(output_.path().c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
        if (!made) throw WriteError("{}: cannot open: {}", output_.path(), std::strerror(errno));
        offsets_->copy_to(made.get(), offsets_at, output_.path());
        bytes_->copy_to(made.get(), bytes_at, output_.path());
        tokens_->copy_to(made.get(), tokens_at, output_.path());
        if (mask_) mask_->copy_to(made.get(), mask_at, output_.path());
    }
    return summary_;
}

TokenFile::TokenFile(const std::string& path)
    : file_(Hdf5File::open(path, ExitCode::data, {.symlinks = Symlinks::follow})) {
    // The format first: an HDF5 file of another kind should be told so, not that some dataset is missing.
    if (!file_.has_attribute("/", "format") || file_.read_string("/", "format") != kFormat)
        throw DataError("{}: expected a token file made by 'braid data build', found another HDF5 file",
                        path);
    const int64_t version = file_.read_i64("/", "format_version");
    if (version != kTokenFileVersion && version != kMaskedTokenFileVersion)
        throw DataError("{}: format_version: expected {} or {}, found {}", path, kTokenFileVersion,
                        kMaskedTokenFileVersion, version);
    summary_.has_loss_mask = version == kMaskedTokenFileVersion;
    std::vector<std::string> expected{"document_bytes", "document_offsets", "tokens"};
    if (summary_.has_loss_mask) expected.insert(expected.begin() + 2, "loss_mask");
    if (const auto names = file_.names("/"); names != expected)
        throw DataError("{}: expected the datasets {}, found {}", path, fmt::join(expected, ", "),
                        fmt::join(names, ", "));

    summary_.tokenizer = {file_.read_string("/", "tokenizer_name"), file_.read_i64("/", "vocab_size"),
                          file_.read_string("/", "tokenizer_sha256")};
    summary_.fingerprint = file_.read_string("/", "fingerprint");
    summary_.num_tokens = file_.read_i64("/", "num_tokens");
    summary_.num_documents = file_.read_i64("/", "num_documents");
    summary_.num_bytes = file_.read_i64("/", "num_bytes");
    check_contents();
}

void TokenFile::check_contents() {
    const auto refuse = [this](const std::string& what) { throw DataError("{}: {}", path(), what); };
    const int64_t vocab_size = summary_.tokenizer.vocab_size, num_documents = summary_.num_documents;
    if (vocab_size < 1 || vocab_size > INT32_MAX)
        refuse(fmt::format("vocab_size: expected 1 to 2^31 - 1, found {}", vocab_size));
    if (!is_sha256_hex(summary_.fingerprint)) refuse("fingerprint: expected 64 hexadecimal digits");
    if (!is_sha256_hex(summary_.tokenizer.sha256)) refuse("tokenizer_sha256: expected 64 hexadecimal digits");
    if (num_documents < 1 || num_documents > kMaxDocuments)
        refuse(fmt::format("num_documents: expected 1 to {}, found {}", kMaxDocuments, num_documents));

    const Hdf5Dataset tokens = file_.dataset("tokens");
    summary_.dtype = tokens.dtype;
    if (tokens.dtype != DType::u8 && tokens.dtype != DType::u16 && tokens.dtype != DType::i32)
        refuse(fmt::format("tokens: expected u8, u16 or i32, found {}", name_of(tokens.dtype)));
    if (tokens.shape != std::vector<int64_t>{summary_.num_tokens} || summary_.num_tokens < 1)
        refuse(fmt::format("tokens: expected the shape [num_tokens = {}], found [{}]", summary_.num_tokens,
                           fmt::join(tokens.shape, ", ")));
    tokens_position_ = tokens.offset;
    if (summary_.has_loss_mask)
        mask_position_ = file_.dataset("loss_mask", DType::u8, {summary_.num_tokens}).offset;

    file_.dataset("document_offsets", DType::i64, {num_documents + 1});
    file_.dataset("document_bytes", DType::i64, {num_documents});
    offsets_.resize(static_cast<size_t>(num_documents + 1));
    bytes_.resize(static_cast<size_t>(num_documents));
    file_.read("document_offsets", DType::i64, {num_documents + 1}, offsets_.data());
    file_.read("document_bytes", DType::i64, {num_documents}, bytes_.data());
    if (offsets_.front() != 0 || offsets_.back() != summary_.num_tokens)
        refuse(fmt::format("document_offsets: expected to run from 0 to {}, found {} to {}",
                           summary_.num_tokens, offsets_.front(), offsets_.back()));
    if (const auto at = std::adjacent_find(offsets_.begin(), offsets_.end(), std::greater<>());
        at != offsets_.end())
        refuse(fmt::format("document_offsets: entry {} is {}, the next is {}: they must not decrease",
                           at - offsets_.begin(), at[0], at[1]));
    int64_t total = 0;
    for (size_t d = 0; d < bytes_.size(); ++d)
        if (bytes_[d] < 0 || __builtin_add_overflow(total, bytes_[d], &total))
            refuse(fmt::format("document_bytes: entry {} is {}", d, bytes_[d]));
    if (total != summary_.num_bytes)
        refuse(fmt::format("document_bytes: expected a sum of num_bytes = {}, found {}", summary_.num_bytes,
                           total));
}

void TokenFile::read(int64_t first, std::span<int32_t> out) const {
    const int64_t count = static_cast<int64_t>(out.size());
    check(first >= 0 && count <= num_tokens() - first, "{}: tokens [{}, {}) of {}", path(), first,
          first + count, num_tokens());
    const size_t width = size_of(summary_.dtype);
    std::vector<uint8_t> raw(out.size() * width);
    read_all_at(file_.descriptor(), raw.data(), raw.size(),
                tokens_position_ + first * static_cast<int64_t>(width), path(), ExitCode::data);
    if (summary_.dtype == DType::u8)
        widen<uint8_t>(raw, out);
    else if (summary_.dtype == DType::u16)
        widen<uint16_t>(raw, out);
    else
        widen<int32_t>(raw, out);
    const auto vocab_size = static_cast<uint32_t>(summary_.tokenizer.vocab_size);
    for (size_t i = 0; i < out.size(); ++i)
        if (static_cast<uint32_t>(out[i]) >= vocab_size) // negative ids wrap to large ones
            throw DataError("{}: token {} at offset {} is outside the vocabulary of {} ids", path(), out[i],
                            first + static_cast<int64_t>(i), vocab_size);
}

void TokenFile::read_mask(int64_t first, std::span<uint8_t> out) const {
    const int64_t count = static_cast<int64_t>(out.size());
    check(first >= 0 && count <= num_tokens() - first, "{}: mask [{}, {}) of {}", path(), first,
          first + count, num_tokens());
    if (!summary_.has_loss_mask) return std::fill(out.begin(), out.end(), uint8_t{1});
    read_all_at(file_.descriptor(), out.data(), out.size(), mask_position_ + first, path(), ExitCode::data);
    for (size_t i = 0; i < out.size(); ++i)
        if (out[i] > 1)
            throw DataError("{}: loss_mask at offset {}: expected 0 or 1, found {}", path(),
                            first + static_cast<int64_t>(i), out[i]);
}

void TokenFile::verify() const {
    constexpr int64_t kBlock = 1 << 20;
    const size_t width = size_of(summary_.dtype);
    std::vector<int32_t> tokens;
    std::vector<uint8_t> packed, mask;
    Sha256 tokens_hash, mask_hash;
    for (int64_t first = 0; first < num_tokens(); first += kBlock) {
        tokens.resize(static_cast<size_t>(std::min(kBlock, num_tokens() - first)));
        read(first, tokens);
        packed.resize(tokens.size() * width);
        for (size_t i = 0; i < tokens.size(); ++i) std::memcpy(packed.data() + i * width, &tokens[i], width);
        tokens_hash.update(packed.data(), packed.size());
        mask.resize(tokens.size());
        read_mask(first, mask);
        mask_hash.update(mask.data(), mask.size());
    }
    const std::string found = token_fingerprint(
        summary_, tokens_hash.finish_hex(), sha256_hex(offsets_.data(), offsets_.size() * sizeof(int64_t)),
        sha256_hex(bytes_.data(), bytes_.size() * sizeof(int64_t)), mask_hash.finish_hex());
    if (found != summary_.fingerprint)
        throw DataError("{}: fingerprint: expected {}, found {}: the file was changed after it was written",
                        path(), summary_.fingerprint, found);
}

} // namespace braid
