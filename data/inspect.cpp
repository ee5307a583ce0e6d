#include "data/inspect.h"

#include <algorithm>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/tokenizer.h"

namespace braid {

namespace {

using nlohmann::ordered_json;

/// The bytes of the UTF-8 character at the start of `text`, or 0 if there is none (RFC 3629).
size_t utf8_length(std::string_view text) {
    const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
    const uint8_t lead = byte(0);
    if (lead < 0x80) return 1;
    const size_t length = lead >= 0xf0 && lead <= 0xf4 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
    for (size_t i = 1; i < length; ++i)
        if ((byte(i) & 0xc0) != 0x80) return 0;
    const bool overlong = (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xf0 && byte(1) < 0x90);
    const bool outside = (lead == 0xed && byte(1) >= 0xa0) || (lead == 0xf4 && byte(1) >= 0x90);
    return overlong || outside ? 0 : length;
}

/// A range of tokens as text; document lengths are the file's word only, so the length shown is capped.
ordered_json show_range(const TokenFile& file, const Tokenizer& tokenizer, const char* kind, int64_t number,
                        int64_t begin, int64_t end) {
    constexpr int64_t kMaxShown = 1 << 20;
    std::vector<int32_t> tokens(static_cast<size_t>(std::min(end - begin, kMaxShown)));
    file.read(begin, tokens);
    return {{"kind", kind},
            {"number", number},
            {"num_tokens", end - begin},
            {"text", escape_control(tokenizer.decode(tokens))}};
}

/// Tokens that count as labels.
int64_t num_label_tokens(const TokenFile& file) {
    constexpr int64_t kBlock = 1 << 20;
    std::vector<uint8_t> mask;
    int64_t count = 0;
    for (int64_t first = 0; first < file.num_tokens(); first += kBlock) {
        mask.resize(static_cast<size_t>(std::min(kBlock, file.num_tokens() - first)));
        file.read_mask(first, mask);
        count += std::count(mask.begin(), mask.end(), 1);
    }
    return count;
}

void add_lines(const ordered_json& object, const std::string& prefix, std::string* lines) {
    for (const auto& [key, value] : object.items()) {
        if (value.is_object()) {
            add_lines(value, prefix + key + ".", lines);
        } else {
            const std::string text =
                value.is_string() ? escape_control(value.get<std::string>()) : value.dump();
            *lines += prefix + key + ": " + text + "\n";
        }
    }
}

} // namespace

ordered_json token_file_info(const TokenFile& file) {
    const TokenFileSummary& summary = file.summary();
    std::vector<int64_t> lengths;
    const std::vector<int64_t>& offsets = file.document_offsets();
    for (size_t d = 0; d + 1 < offsets.size(); ++d) lengths.push_back(offsets[d + 1] - offsets[d]);
    const auto middle = lengths.begin() + static_cast<std::ptrdiff_t>(lengths.size() / 2);
    std::nth_element(lengths.begin(), middle, lengths.end());
    const int64_t median = *middle;
    ordered_json info = {
        {"file", file.path()},
        {"format_version", summary.has_loss_mask ? kMaskedTokenFileVersion : kTokenFileVersion},
        {"num_tokens", summary.num_tokens},
        {"num_documents", summary.num_documents},
        {"num_bytes", summary.num_bytes},
        {"token_type", name_of(summary.dtype)},
        {"document_tokens",
         {{"shortest", *std::min_element(lengths.begin(), lengths.end())},
          {"median", median},
          {"longest", *std::max_element(lengths.begin(), lengths.end())},
          {"empty", std::count(lengths.begin(), lengths.end(), 0)}}},
        {"tokenizer",
         {{"name", summary.tokenizer.name},
          {"vocab_size", summary.tokenizer.vocab_size},
          {"sha256", summary.tokenizer.sha256}}},
        {"fingerprint", summary.fingerprint}};
    if (summary.has_loss_mask) info["num_label_tokens"] = num_label_tokens(file);
    return info;
}

ordered_json entropy_info(const NgramEntropy& entropy, const TokenFile& measured) {
    return {{"measured_on", measured.path()},
            {"num_predicted", entropy.num_predicted},
            {"unigram", entropy.unigram},
            {"bigram", entropy.bigram},
            {"trigram", entropy.trigram}};
}

std::string to_lines(const ordered_json& object) {
    std::string lines;
    add_lines(object, "", &lines);
    return lines;
}

ordered_json show_documents(const TokenFile& file, int64_t first, int64_t count) {
    if (first < 0 || first >= file.num_documents())
        throw DataError("{}: expected a document from 0 to {}, found {}", file.path(),
                        file.num_documents() - 1, first);
    const auto tokenizer = make_tokenizer(file.summary().tokenizer);
    ordered_json shown = ordered_json::array();
    for (int64_t d = first; d < first + std::min(count, file.num_documents() - first); ++d) {
        const auto at = static_cast<size_t>(d);
        shown.push_back(show_range(file, *tokenizer, "document", d, file.document_offsets()[at],
                                   file.document_offsets()[at + 1]));
    }
    return shown;
}

ordered_json show_windows(const TokenFile& file, int64_t sequence_length, int64_t first, int64_t count) {
    const int64_t num_windows = file.num_tokens() / sequence_length;
    if (first < 0 || first >= num_windows)
        throw DataError("{}: expected a window of {} tokens from 0 to {}, found {}", file.path(),
                        sequence_length, num_windows - 1, first);
    const auto tokenizer = make_tokenizer(file.summary().tokenizer);
    ordered_json shown = ordered_json::array();
    for (int64_t w = first; w < first + std::min(count, num_windows - first); ++w)
        shown.push_back(
            show_range(file, *tokenizer, "window", w, w * sequence_length, (w + 1) * sequence_length));
    return shown;
}

ordered_json show_samples(const TrainLoader& loader, int64_t first, int64_t count) {
    const auto tokenizer = make_tokenizer(loader.source(0).summary().tokenizer);
    const int64_t length = loader.sequence_length();
    ordered_json shown = ordered_json::array();
    for (int64_t sample = first; sample < first + count; ++sample) {
        const auto [source, window] = loader.locate(sample);
        const TokenFile& file = loader.source(source);
        shown.push_back(
            show_range(file, *tokenizer, "sample", sample, window * length, (window + 1) * length));
        shown.back()["file"] = file.path();
        shown.back()["window"] = window;
    }
    return shown;
}

std::string to_text(const ordered_json& shown) {
    std::string text;
    for (const ordered_json& item : shown) {
        text +=
            fmt::format("--- {} {}, ", item.at("kind").get<std::string>(), item.at("number").get<int64_t>());
        if (item.contains("window"))
            text += fmt::format("window {} of {}, ", item.at("window").get<int64_t>(),
                                escape_control(item.at("file").get<std::string>()));
        text += fmt::format("{} tokens\n{}\n", item.at("num_tokens").get<int64_t>(),
                            item.at("text").get<std::string>());
    }
    return text;
}

std::string escape_control(std::string_view text) {
    std::string safe;
    while (!text.empty()) {
        const size_t length = utf8_length(text);
        const auto byte = static_cast<uint8_t>(text[0]);
        const bool control = byte < 0x20 ? byte != '\n' && byte != '\t' : byte == 0x7f;
        // C2 80 to C2 9F are control characters too.
        const bool c1_control = length == 2 && byte == 0xc2 && static_cast<uint8_t>(text[1]) < 0xa0;
        if (length == 0 || control)
            safe += fmt::format("\\x{:02x}", byte);
        else if (c1_control)
            safe += fmt::format("\\x{:02x}\\x{:02x}", byte, static_cast<uint8_t>(text[1]));
        else
            safe += text.substr(0, length);
        text.remove_prefix(std::max<size_t>(length, 1));
    }
    return safe;
}

} // namespace braid
