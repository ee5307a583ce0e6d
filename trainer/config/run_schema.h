#pragma once

#include <string>

#include "base/schema.h"
#include "trainer/config/run_config.h"

namespace braid {

const Schema<RunConfig>& run_schema();

/// Every key and rule of a run file.
const SchemaDocs& run_docs();

/// One line per key: path, what it takes, default, help, separated by two or more spaces.
std::string key_lines();

/// The text of docs/config.md.
std::string config_reference();

} // namespace braid
