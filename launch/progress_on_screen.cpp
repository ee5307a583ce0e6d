#include "launch/progress_on_screen.h"

#include <cstdio>

#include "launch/output.h"
#include "launch/terminal.h"

namespace braid {

ProgressOptions progress_on_screen() {
    ProgressOptions options;
    options.write = print_notice; // log.txt has it too
    options.terminal = is_terminal(stdout);
    options.columns = [] {
        return terminal_width(stdout);
    }; // a window is narrowed and widened while a run goes on
    return options;
}

} // namespace braid
