#include "launch/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace braid {

bool is_terminal(std::FILE* stream) {
    if (const char* said = std::getenv("BRAID_TERMINAL")) return std::string_view(said) == "1";
    return ::isatty(::fileno(stream)) == 1;
}

int terminal_width(std::FILE* stream) {
    winsize size = {};
    if (::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    constexpr int kUsual = 80, kMax = 1000;
    const char* said = std::getenv("COLUMNS");
    if (!said) return kUsual;
    const std::string_view text = said;
    int columns = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), columns);
    return parsed.ec == std::errc() && columns > 0 && columns <= kMax ? columns : kUsual;
}

} // namespace braid
