#include "parallel/parallel_schema.h"

namespace braid {

const Schema<ParallelConfig>& parallel_schema() {
    using P = ParallelConfig;
    static const Schema<P> schema =
        Schema<P>()
            .key("data", &P::data,
                 {.help = "data-parallel ranks; auto is all processes",
                  .min = 1,
                  .max = 1'048'576,
                  .zero_word = "auto",
                  .aliases = {"data_parallel_size", "data_parallel_replicate_degree", "dp"},
                  .changes_numbers = false})
            .key("reduction", &P::reduction,
                 {.help = "float sums over ranks: ordered adds the pieces in rank order, library leaves the "
                          "order to MPI",
                  .changes_numbers = false})
            .key("watchdog_seconds", &P::watchdog_seconds,
                 {.help = "how long a rank waits for others before it ends the job with exit code 6 and says "
                          "for whom, in what; 0 is for ever",
                  .min = 0,
                  .max = 31'536'000,
                  .changes_numbers = false})
            .not_built({"tensor",
                        "sequence",
                        "context",
                        "pipeline",
                        "expert",
                        "expert_tensor",
                        "zero",
                        "virtual_stages",
                        "schedule",
                        "context_method",
                        "tensor_model_parallel_size",
                        "tensor_parallel_degree",
                        "pipeline_model_parallel_size",
                        "pipeline_parallel_degree",
                        "context_parallel_size",
                        "context_parallel_degree",
                        "expert_model_parallel_size",
                        "expert_parallel_degree",
                        "expert_tensor_parallel_size",
                        "sequence_parallel",
                        "data_parallel_shard_degree"});
    return schema;
}

} // namespace braid
