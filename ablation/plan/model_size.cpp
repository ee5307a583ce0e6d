#include "ablation/plan/model_size.h"

#include "layers/model/model.h"
#include "ops/documents.h"

namespace braid {

ModelSize model_size(const RunConfig& run) {
    ParameterStore store;
    const Model model(run.model, store);
    const int64_t length = run.train.sequence_length;
    // As in the metrics' mfu: a backward pass is two forward passes.
    return {model.num_parameters(), model.num_active_parameters(),
            3 * model.forward_flops(*Documents::single(length)) / static_cast<double>(length)};
}

} // namespace braid
