#pragma once

#include <cstddef>

#include "ablation/report/curve_json.h"

namespace braid::report {

/// Where the page's data would have more bytes than `most`: makes one of each two times of all runs' "layers"
/// until they have fewer, one time at least, and then takes the layers of the last runs away. Tells what it
/// did, as a list of sentences.
Json thin_layers(Json& data, size_t most);

} // namespace braid::report
