#include "base/first_few.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace braid {

std::string first_few(const std::vector<std::string>& names) {
    constexpr size_t kFew = 5;
    const std::vector<std::string> few(names.begin(),
                                       names.begin() + static_cast<ptrdiff_t>(std::min(names.size(), kFew)));
    return fmt::format("{}{}", fmt::join(few, ", "),
                       names.size() > kFew ? fmt::format(" and {} more", names.size() - kFew) : "");
}

} // namespace braid
