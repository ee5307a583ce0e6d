#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/atomic_file.h"
#include "base/enum_names.h"
#include "data/token_file.h"

namespace braid {

/// Tasks whose answer is known, by which a comparison of architectures can be checked: what should fail
/// fails and what should solve it does. All are documents of bytes, of one length, whose answers alone are
/// labels.
enum class SyntheticTask {
    // Pairs of a key (a byte below 128) and a value (128 and above), then keys again, whose values are asked
    // for: associative recall (Arora et al., 2023, arXiv:2312.04927). A model with a state of fixed size
    // holds
    // as many pairs as that allows; attention holds all.
    recall,
    // Symbols, a separator (255), and the same symbols again, which are asked for (Jelassi et al., 2024,
    // arXiv:2402.01032).
    copy,
    // Spaces, some characters 0 and 1, "=", and whether the ones are odd: needs eigenvalues of a recurrence's
    // transition
    // below 0 (Grazzi et al., 2024, arXiv:2411.12537), as the delta rule has them with beta up to 2.
    parity,
};
constexpr auto enum_names(SyntheticTask) {
    return std::array<std::string_view, 3>{"recall", "copy", "parity"};
}

struct SyntheticOptions {
    SyntheticTask task = SyntheticTask::recall;
    int64_t pairs = 16;    // of recall
    int64_t symbols = 64;  // of copy: different ones
    int64_t length = 64;   // tokens of a document
    int64_t documents = 0; // to train on
    int64_t test_documents = 0;
    uint64_t seed = 1;
    std::string output{}, test_output{};
    Overwrite overwrite = Overwrite::no;
};

struct SyntheticResult {
    TokenFileSummary train, test;
};

/// `braid data synth`: writes a training file and one of other documents to test on; none is in both. A
/// document is a function of the options, its file and its number. ConfigError for sizes that make no
/// document, or so few different ones that none is left to test on.
SyntheticResult write_synthetic(const SyntheticOptions& options);

} // namespace braid
