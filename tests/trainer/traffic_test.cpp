// What the metrics say is sent is what the formula of docs/performance.md says.

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "layers/model/model.h"
#include "optim/matrix_plan.h"
#include "parallel/collectives.h"
#include "tests/data/token_fixture.h"
#include "tests/parallel/traced_ranks.h"
#include "tests/support/temporary_folder.h"
#include "trainer/run/run.h"

namespace braid {
namespace {

using nlohmann::json;
using test::TemporaryFolder;

RunConfig small_run(const TemporaryFolder& folder, int64_t global_batch, const char* optimizer = "adamw") {
    return parse_run_config(
        fmt::format("name: traffic\n"
                    "run_dir: {}\n"
                    "model: {{vocab_size: 256, hidden_size: 10, pattern: \"dense*2\", sublayers: {{dense: "
                    "{{type: mlp, size: 7}}}}}}\n"
                    "train: {{steps: 3, sequence_length: 16, global_batch: {}, micro_batch: 1}}\n"
                    "data: {{train: [{{path: {}}}], validation: {{same: {{path: {}}}}}}}\n"
                    "optimizer: {{type: {}}}\n"
                    "checkpoint: {{every: 1}}\n"
                    "eval: {{every: 1, tokens: 32}}\n",
                    folder / "run", global_batch, folder / "tokens.h5", folder / "tokens.h5", optimizer),
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

/// The metrics of a run on that many ranks.
std::vector<json> metrics_of_run(int size, const char* optimizer) {
    const std::string text = "What the river takes from one bank it lays down on the other, ";
    const TemporaryFolder folder;
    test::write_texts(folder / "tokens.h5", {text + text, text, text + text + text});
    testing::run_traced_ranks(size, [&](Communicator& world, CollectiveLog&) {
        TrainRequest request;
        request.config = small_run(folder, size + 1, optimizer); // so that one rank has two micro-batches
        request.progress.write = [](std::string_view) {};
        EXPECT_EQ(run_training(request, world), ExitCode::ok);
    });
    std::istringstream lines(test::read_file(folder / "run/metrics.jsonl"));
    std::vector<json> metrics;
    for (std::string line; std::getline(lines, line);) metrics.push_back(json::parse(line));
    return metrics;
}

TEST(traffic, of_the_data_ranks_is_that_of_ordered_sums) {
    const TemporaryFolder folder;
    for (const int size : {2, 3}) {
        const int64_t bytes = expected_bytes(small_run(folder, size + 1).model, size);
        const std::vector<json> metrics = metrics_of_run(size, "adamw");
        EXPECT_EQ(metrics.size(), 3u);
        std::set<int64_t> world_bytes;
        for (const json& step : metrics) {
            EXPECT_EQ(step["comm_bytes/data"], bytes) << size << " ranks";
            EXPECT_EQ(step["comm_calls/data"], 2 * 4) << "embedding, two layers and the head";
            // Losses and agreements; of equal size in every step, as evaluation and checkpoint are not in it.
            EXPECT_GT(step["comm_bytes/world"], 0);
            world_bytes.insert(step["comm_bytes/world"].get<int64_t>());
        }
        EXPECT_EQ(world_bytes.size(), 1u);
    }
}

/// Bytes that the first of `size` ranks sends for the matrices of a step under Muon: what it owns of those
/// that others compute, and the updates of what others own of those that it computes.
int64_t expected_matrix_bytes(const RunConfig& config, int size) {
    int64_t bytes = 0;
    run_thread_ranks(size, [&](Communicator& world) {
        const Mesh mesh(world, {});
        Allocator allocator;
        ParameterStore store(mesh.grid());
        const Model model(config.model, store);
        store.allocate(allocator, DType::f32, false);
        if (world.rank() != 0) return;
        const MatrixPlan plan(store, resolve_groups(config.optimizer, store), true, mesh, true);
        for (int unit = 0; unit < static_cast<int>(store.units().size()); ++unit) {
            const int64_t own = store.owned_range(store.unit(unit).buckets[0]).last;
            std::vector<const Parameter::Section*> sections;
            for (const Parameter* parameter : store.unit(unit).parameters)
                for (const auto& section : parameter->sections()) sections.push_back(&section);
            for (const MatrixPlan::Matrix& matrix : plan.unit(unit).matrices) { // each is a whole section
                const Parameter::Section& section = *sections[matrix.section];
                const int64_t mine = std::clamp<int64_t>(own - section.unit_offset, 0, section.numel());
                bytes += 4 * (matrix.rank == 0 ? section.numel() - mine : mine);
            }
        }
    });
    return bytes;
}

TEST(traffic, of_matrices_is_their_fragments_there_and_back) {
    const TemporaryFolder folder;
    for (const int size : {2, 3}) {
        const json with = metrics_of_run(size, "muon")[1], without = metrics_of_run(size, "adamw")[1];
        EXPECT_EQ(with["comm_bytes/data"], without["comm_bytes/data"]);
        const auto difference = [&](const char* key) {
            return with[key].get<int64_t>() - without[key].get<int64_t>();
        };
        const int64_t bytes = expected_matrix_bytes(small_run(folder, size + 1, "muon"), size);
        EXPECT_GT(bytes, 0);
        EXPECT_EQ(difference("comm_bytes/world"), bytes) << size << " ranks";
        EXPECT_EQ(difference("comm_calls/world"), 2 * 2) << "two layers, there and back";
    }
}

} // namespace
} // namespace braid
