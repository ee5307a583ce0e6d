#pragma once

#include <string>

#include "trainer/checkpoint/checkpoint_manifest.h"

namespace braid {

/// Writes FOLDER/index.h5: for every global tensor a virtual dataset of its name and shape that is composed
/// of the ranks' files, so that h5py reads a checkpoint as one file. A scalar has the shape [1]. Our own
/// reader never opens it. WriteError.
void write_checkpoint_index(const std::string& folder, const Manifest& manifest);

} // namespace braid
