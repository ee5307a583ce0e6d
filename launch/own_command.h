#pragma once

#include <string>
#include <vector>

namespace braid {

/// The command line of this process, for the record.
std::vector<std::string> own_command();

} // namespace braid
