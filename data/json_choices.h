#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace braid {

/// A question with choices of which one is right, as `{"context": TEXT, "choices": [TEXT, ...], "answer":
/// NUMBER}` has it; the answer counts from 0.
struct ChoiceItem {
    std::string context;
    std::vector<std::string> choices; // two at least
    int64_t answer = 0;
    std::string problem; // what was expected and found; empty if all is well
};

/// Takes these three keys from the one JSON object of `text`. Nothing else of it is built, so memory and
/// stack stay bounded whatever is nested in it.
ChoiceItem read_choice_item(std::string_view text);

} // namespace braid
