#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "data/entropy.h"
#include "data/loader.h"
#include "data/token_file.h"

namespace braid {

/// What `braid data info` prints of a token file: sizes, document lengths, tokenizer, fingerprint.
nlohmann::ordered_json token_file_info(const TokenFile& file);
/// The same of entropies, in nats per byte, and the file they were measured on.
nlohmann::ordered_json entropy_info(const NgramEntropy& entropy, const TokenFile& measured);

/// One "key: value" a line, the keys of nested objects joined by a dot.
std::string to_lines(const nlohmann::ordered_json& object);

/// The text of the documents [first, first + count), each with its number and length before it; ends at the
/// last one.
nlohmann::ordered_json show_documents(const TokenFile& file, int64_t first, int64_t count);
/// The text of the windows of sequence_length tokens that training cuts, before shuffling.
nlohmann::ordered_json show_windows(const TokenFile& file, int64_t sequence_length, int64_t first,
                                    int64_t count);
/// The text of the samples [first, first + count) of a run, each with the file and window it is cut from.
nlohmann::ordered_json show_samples(const TrainLoader& loader, int64_t first, int64_t count);
/// What one of these found, for a terminal.
std::string to_text(const nlohmann::ordered_json& shown);

/// Text made safe for a terminal: control characters but line feed and tab, and bytes that are not UTF-8,
/// become \xNN.
std::string escape_control(std::string_view text);

} // namespace braid
