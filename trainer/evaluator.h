#pragma once

#include "data/loader.h"
#include "layers/model.h"
#include "parallel/communicator.h"
#include "trainer/metrics.h"

namespace braid {

/// Runs a validation set, its windows shared out over the ranks of the group, micro_batch windows at a time.
/// Every rank gets the same result. The state of training is not touched.
Evaluation evaluate(const Model& model, Allocator& allocator, Communicator& group,
                    const ValidationLoader& data, int64_t micro_batch);

} // namespace braid
