// What the metrics say is sent is what the formula of docs/performance.md says.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "layers/model.h"
#include "parallel/collectives.h"
#include "tests/data/token_fixture.h"
#include "tests/parallel/traced_ranks.h"
#include "tests/support/temporary_folder.h"
#include "trainer/run.h"

namespace braid {
namespace {

using nlohmann::json;
using test::TemporaryFolder;

RunConfig small_run(const TemporaryFolder& folder, int64_t global_batch) {
    return parse_run_config(
        fmt::format("name: traffic\n"
                    "run_dir: {}\n"
                    "model: {{vocab_size: 256, hidden_size: 10, pattern: \"dense*2\", sublayers: {{dense: "
                    "{{type: mlp, size: 7}}}}}}\n"
                    "train: {{steps: 3, sequence_length: 16, global_batch: {}, micro_batch: 1}}\n"
                    "data: {{train: [{{path: {}}}], validation: {{same: {{path: {}}}}}}}\n"
                    "checkpoint: {{every: 1}}\n"
                    "eval: {{every: 1, tokens: 32}}\n",
                    folder / "run", global_batch, folder / "tokens.h5", folder / "tokens.h5"),
        "test");
}

/// Bytes that the first of `size` ranks sends for the gradients of one step: of each unit of B bytes all but
/// its own share to the others, and its share, summed, to each of them.
int64_t expected_bytes(const ModelConfig& config, int size) {
    Allocator allocator;
    ParameterStore store;
    const Model model(config, store);
    store.allocate(allocator, DType::f32, false);
    int64_t bytes = 0;
    for (const auto& unit : store.units()) {
        const int64_t own = EvenSplit{unit->numel, size}.length(0);
        bytes += 4 * (unit->numel - own + own * (size - 1));
    }
    return bytes;
}

TEST(traffic, of_the_data_ranks_is_that_of_ordered_sums) {
    const std::string text = "What the river takes from one bank it lays down on the other, ";
    for (const int size : {2, 3}) {
        const TemporaryFolder folder;
        test::write_texts(folder / "tokens.h5", {text + text, text, text + text + text});
        testing::run_traced_ranks(size, [&](Communicator& world, CollectiveLog&) {
            TrainRequest request;
            request.config = small_run(folder, size + 1); // so that one rank has two micro-batches
            request.progress.write = [](std::string_view) {};
            EXPECT_EQ(run_training(request, world), ExitCode::ok);
        });
        const int64_t bytes = expected_bytes(small_run(folder, size + 1).model, size);
        std::istringstream lines(test::read_file(folder / "run/metrics.jsonl"));
        int num_lines = 0;
        std::set<int64_t> world_bytes;
        for (std::string line; std::getline(lines, line); ++num_lines) {
            const json step = json::parse(line);
            EXPECT_EQ(step["comm_bytes/data"], bytes) << size << " ranks";
            EXPECT_EQ(step["comm_calls/data"], 2 * 4) << "embedding, two layers and the head";
            // Losses and agreements; of equal size in every step, as evaluation and checkpoint are not in it.
            EXPECT_GT(step["comm_bytes/world"], 0);
            world_bytes.insert(step["comm_bytes/world"].get<int64_t>());
        }
        EXPECT_EQ(num_lines, 3);
        EXPECT_EQ(world_bytes.size(), 1u);
    }
}

} // namespace
} // namespace braid
