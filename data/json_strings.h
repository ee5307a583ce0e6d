#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace braid {

struct JsonStrings {
    std::vector<std::string> values; // in the order of the keys asked for
    std::string problem;             // what was expected and found; empty if all is well
};

/// The strings that these keys have in the one JSON object of `text`. Nothing else of it is built, so memory
/// and stack stay bounded whatever is nested in it. Each key must be there once, with a string; a forbidden
/// key must not be there.
JsonStrings read_json_strings(std::string_view text, const std::vector<std::string>& keys,
                              const std::vector<std::string>& forbidden = {});

} // namespace braid
