#pragma once

#include "trainer/metrics/progress.h"

namespace braid {

/// How a run shows on standard output how far it has come: a bar on a terminal, else lines.
ProgressOptions progress_on_screen();

} // namespace braid
