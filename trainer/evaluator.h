#pragma once

#include "data/loader.h"
#include "layers/model.h"
#include "parallel/mesh.h"
#include "trainer/metrics.h"

namespace braid {

/// Runs a validation set, its windows shared out over the data ranks, micro_batch windows at a time.
/// Every rank gets the same result. The state of training is not touched.
Evaluation evaluate(const Model& model, Allocator& allocator, const Mesh& mesh, const ValidationLoader& data,
                    int64_t micro_batch);

} // namespace braid
