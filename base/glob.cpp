#include "base/glob.h"

#include <cstddef>

namespace braid {

bool matches_glob(std::string_view glob, std::string_view name) {
    // The last * seen may take one more character whenever the rest does not fit: linear space, no recursion.
    size_t g = 0, n = 0, star = std::string_view::npos, star_name = 0;
    while (n < name.size()) {
        if (g < glob.size() && (glob[g] == '?' || (glob[g] == name[n] && glob[g] != '*'))) {
            ++g, ++n;
        } else if (g < glob.size() && glob[g] == '*') {
            star = g++;
            star_name = n;
        } else if (star != std::string_view::npos) {
            g = star + 1;
            n = ++star_name;
        } else {
            return false;
        }
    }
    while (g < glob.size() && glob[g] == '*') ++g;
    return g == glob.size();
}

} // namespace braid
