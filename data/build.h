#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "data/documents.h"
#include "data/token_file.h"

namespace braid {

/// Documents for validation, taken out of the training file by a rule that looks at their text alone, so that
/// equal documents are never in both files and the order of the inputs does not matter.
struct ValidationSplit {
    std::string output;
    double fraction = 0; // expected share of the documents, between 0 and 1
};

/// True if a document belongs to the validation split: its stable_hash, as a fraction of 2^64, is below
/// `fraction`.
bool in_validation_split(std::string_view document, double fraction);

struct BuildOptions {
    std::vector<std::string> inputs{};
    std::string output{};
    std::string tokenizer = "bytes";
    Overwrite overwrite = Overwrite::no;
    DocumentOptions documents{};
    std::optional<ValidationSplit> validation{};
};

struct BuildResult {
    TokenFileSummary train;
    std::optional<TokenFileSummary> validation;
};

/// `braid data build`: turns inputs into a token file, and a second one where a validation split is asked
/// for. Both appear whole or not at all. ConfigError for options that make no sense, DataError for faults of
/// the inputs, WriteError for an output that exists or cannot be written.
BuildResult build_token_file(const BuildOptions& options);

} // namespace braid
