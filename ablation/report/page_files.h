#pragma once

#include <string_view>

namespace braid::report {

/// A file of ablation/report/page, or of Chart.js, as it was when the program was built.
std::string_view page_file(std::string_view name);

} // namespace braid::report
