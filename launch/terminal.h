#pragma once

#include <cstdio>

namespace braid {

/// Whether a person watches `stream`. Under mpirun every stream looks like a terminal, so the launcher says
/// it in BRAID_TERMINAL (1 or 0).
bool is_terminal(std::FILE* stream);

/// Columns of the terminal behind `stream`, else what COLUMNS says, else 80.
int terminal_width(std::FILE* stream);

} // namespace braid
