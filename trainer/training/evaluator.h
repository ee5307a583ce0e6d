#pragma once

#include <memory>

#include "base/awaited.h"
#include "data/loader.h"
#include "data/task_set.h"
#include "layers/model/model.h"
#include "parallel/mesh.h"
#include "trainer/metrics/metrics.h"

namespace braid {

/// Runs a validation set, its windows shared out over the data ranks, micro_batch windows at a time.
/// Every rank gets the same result. The state of training is not touched. Where `stop_requested` of any rank
/// is true between two micro-batches, or while one is read, all ranks throw an AgreedError with
/// ExitCode::stopped.
Evaluation evaluate(const Model& model, Allocator& allocator, const Mesh& mesh,
                    const std::shared_ptr<const ValidationLoader>& data, int64_t micro_batch,
                    const StopRequested& stop_requested = {});

/// Runs a task, its batches shared out over the data ranks; the rest as above.
TaskScore evaluate(const Model& model, Allocator& allocator, const Mesh& mesh, const TaskSet& task,
                   const StopRequested& stop_requested = {});

} // namespace braid
