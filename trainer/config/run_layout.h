#pragma once

#include <string>
#include <vector>

#include "parallel/mesh.h"
#include "trainer/config/run_config.h"

namespace braid {

/// Why num_ranks ranks cannot run the config in the layout it asks for, a line each, all that there are.
/// The last one lists the nearest layouts that would work.
std::vector<std::string> layout_faults(const RunConfig& config, int num_ranks);

/// ConfigError where num_ranks ranks cannot run the config in the layout it asks for: sizes that do not
/// divide, more data ranks than sequences. It has the numbers, what would do, and the nearest layouts that
/// would work on this number of ranks, or on the most below it on which one does.
void expect_run_fits(const RunConfig& config, int num_ranks);

} // namespace braid
