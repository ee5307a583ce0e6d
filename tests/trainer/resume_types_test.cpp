// A run of every registered type of sublayer goes on from a checkpoint to the bit.

#include <gtest/gtest.h>

#include "parallel/thread_comm.h"
#include "tests/data/token_fixture.h"
#include "tests/support/sublayer_examples.h"
#include "tests/support/temporary_folder.h"
#include "trainer/checkpoint/checkpoint_diff.h"
#include "trainer/training/trainer.h"

namespace braid::testing {
namespace {

/// A model with a layer of each example of each type.
RunConfig config_of_all_types(const std::string& tokens) {
    RunConfig run = parse_run_config(
        fmt::format(
            "name: types\nmodel: {{vocab_size: 257, hidden_size: 12, pattern: mlp, "
            "sublayers: {{mlp: {{type: mlp, size: 4}}}}}}\n"
            "train: {{steps: 4, sequence_length: 16, global_batch: 4, micro_batch: 1, precision: f64}}\n"
            "optimizer: {{lr: 0.01}}\ndata: {{train: [{{path: {}}}]}}\n",
            tokens),
        "test");
    run.model.sublayers.clear();
    run.model.pattern.clear();
    run.model.layers.clear();
    run.model.num_layers = 0;
    for (const SublayerExample& example : sublayer_examples()) {
        run.model.sublayers[example.name].kind = example.config;
        run.model.pattern += (run.model.pattern.empty() ? "" : ", ") + example.name;
    }
    return run;
}

TEST(resume_types, resuming_changes_no_bit) {
    const test::TemporaryFolder folder;
    const std::string text = "What the river takes from one bank it lays down on the other, ";
    test::write_texts(folder / "tokens.h5", {text + text, text, text + text + text});
    const RunConfig config = config_of_all_types(folder / "tokens.h5");
    for (const int ranks : {1, 2}) {
        const auto train = [&](const std::string& from, int steps, const std::string& to) {
            std::vector<double> losses;
            run_thread_ranks(ranks, [&](Communicator& world) {
                Trainer trainer(config, world, ranks);
                if (!from.empty()) trainer.load(from);
                for (int i = 0; i < steps; ++i) {
                    const double loss = trainer.step(false).loss;
                    if (world.rank() == 0) losses.push_back(loss);
                }
                trainer.save(folder / (to + std::to_string(ranks)));
            });
            return losses;
        };
        const auto checkpoint = [&](const std::string& name, int step) {
            return folder / fmt::format("{}{}/step-{:08}", name, ranks, step);
        };
        std::vector<double> losses = train("", 2, "part");
        for (const double loss : train(checkpoint("part", 2), 2, "resumed")) losses.push_back(loss);
        EXPECT_EQ(losses, train("", 4, "straight")) << ranks << " ranks";
        const CheckpointDifference difference =
            compare_checkpoints(CheckpointReader::open(checkpoint("resumed", 4)),
                                CheckpointReader::open(checkpoint("straight", 4)));
        EXPECT_TRUE(difference.structure.empty()) << ranks << " ranks";
        for (const TensorDifference& tensor : difference.tensors)
            ADD_FAILURE() << ranks << " ranks: " << tensor.name << " differs";
    }
}

} // namespace
} // namespace braid::testing
