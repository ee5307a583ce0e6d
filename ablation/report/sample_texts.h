#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace braid::report {

struct SampleText {
    std::string prompt, text;
};

/// What a run's samples.jsonl holds of its last steps.
struct SampleTexts {
    static constexpr size_t kMostSteps = 20;
    /// Longer prompts and texts are cut there, so that a page stays one that opens.
    static constexpr size_t kMostBytes = 4000;

    std::map<int64_t, std::vector<SampleText>> by_step;
    int64_t steps_left_out = 0; // all before those of by_step
    int64_t texts_cut = 0;
};

/// Reads {"step", "prompt", "text"} a line. Nothing for a file that is not there; a torn last line is left
/// out; DataError with file and line for any other text.
SampleTexts read_samples(const std::string& path);

} // namespace braid::report
