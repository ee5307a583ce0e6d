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
            .key("tensor", &P::tensor,
                 {.help = "tensor-parallel ranks: heads, features and vocabulary are shared out over them",
                  .min = 1,
                  .max = 65'536,
                  .aliases = {"tensor_model_parallel_size", "tensor_parallel_degree", "tp"},
                  .changes_numbers = false})
            .key("sequence", &P::sequence,
                 {.help = "sequence parallelism: tensor ranks share out the tokens between sublayers",
                  .aliases = {"sequence_parallel"},
                  .changes_numbers = false})
            .key("expert", &P::expert,
                 {.help = "expert-parallel ranks: the experts of a layer are shared out over them",
                  .min = 1,
                  .max = 65'536,
                  .aliases = {"expert_model_parallel_size", "expert_parallel_degree", "ep"},
                  .changes_numbers = false})
            .key("expert_tensor", &P::expert_tensor,
                 {.help = "ranks that share out each expert's features",
                  .min = 1,
                  .max = 65'536,
                  .aliases = {"expert_tensor_parallel_size", "etp"},
                  .changes_numbers = false})
            .key("zero", &P::zero,
                 {.help = "1: optimizer state is shared out over the ranks that hold the same parameters "
                          "(ZeRO-1); 0: each holds all of it",
                  .min = 0,
                  .max = 1,
                  .aliases = {"zero_stage"},
                  .changes_numbers = false})
            .key("reduction", &P::reduction,
                 {.help = "float sums over ranks: ordered adds the parts in rank order, library leaves the "
                          "order to MPI",
                  .changes_numbers = false})
            .key("watchdog_seconds", &P::watchdog_seconds,
                 {.help = "how long a rank waits for others before it ends the job with exit code 6 and says "
                          "for whom, in what; 0 is for ever",
                  .min = 0,
                  .max = 31'536'000,
                  .changes_numbers = false})
            .not_built({"context", "pipeline", "virtual_stages", "schedule", "context_method",
                        "pipeline_model_parallel_size", "pipeline_parallel_degree", "context_parallel_size",
                        "context_parallel_degree", "data_parallel_shard_degree"})
            .example("{tensor: 2, expert: 2}");
    return schema;
}

} // namespace braid
