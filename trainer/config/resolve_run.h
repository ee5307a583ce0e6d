#pragma once

#include "base/schema_log.h"
#include "trainer/config/run_config.h"

namespace braid {

// The parts of reading a run file that look at several sections. They report to `check`.

/// Tokens into steps and sequences.
void resolve_counts(RunConfig& run, SectionCheck& check);
/// Defaults that depend on other keys, keys inside the name.
void resolve_run(RunConfig& run, SectionCheck& check);

void check_steps(const RunConfig& run, SectionCheck& check);
void check_eval(const RunConfig& run, SectionCheck& check);
void check_skipped(const RunConfig& run, SectionCheck& check);
void check_groups(const RunConfig& run, SectionCheck& check);

} // namespace braid
