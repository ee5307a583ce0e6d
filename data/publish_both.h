#pragma once

#include "data/token_file.h"

namespace braid {

/// Gives two written files their names, or neither: one part alone, or beside an older one, would be taken
/// for a whole. What they replace is put back where the second fails.
void publish_both(TokenFileWriter& first, TokenFileWriter& second);

} // namespace braid
