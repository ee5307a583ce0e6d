// A checkpoint of one layout of ranks, continued under another: the state is the same to the bit, the
// trajectory to rounding.

#include <fmt/ranges.h>
#include <gmock/gmock.h>

#include <cmath>
#include <optional>

#include "parallel/agreement.h"
#include "parallel/thread_comm.h"
#include "tests/data/token_fixture.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"
#include "trainer/checkpoint/checkpoint_diff.h"
#include "trainer/training/trainer.h"

namespace braid {
namespace {

using test::TemporaryFolder;
using ::testing::HasSubstr;

// Layouts add the same products in another order. A loss here is a chain of some 30 sums of at most 260
// terms, each off by at most 260 u of its terms (u = 2^-53), which norms and softmax amplify by 100 at the
// very most: 30 x 260 x 100 x u = 9e-11.
constexpr double kLossBound = 1e-10;

/// Ranks and keys of `parallel` for them.
struct RunLayout {
    int num_ranks;
    std::string parallel;
};

std::string name_of(const RunLayout& layout) {
    return fmt::format("{} ranks {{{}}}", layout.num_ranks, layout.parallel);
}

/// What a test changes in the configuration.
struct Variant {
    bool tied = false;
    std::string precision = "f64", optimizer = "adamw";
    int num_heads = 4, num_kv_heads = 2, global_batch = 6;
};

/// A folder with tokens and the configuration of a hybrid model that uses every kind of parameter: with 257
/// words on an even number of ranks, key/value heads on more ranks than there are, experts and shared
/// experts, biases of routers.
class RelayoutCase {
  public:
    explicit RelayoutCase(Variant variant = {}) : variant_(std::move(variant)) {
        const std::string text = "What the river takes from one bank it lays down on the other, ";
        test::write_texts(folder_ / "tokens.h5", {text + text, text, text + text + text});
    }

    RunConfig config(const std::string& parallel) const {
        const std::string model = R"(
  pattern: "gdn+moe, attn+moe, attn+dense"
  init: {std: 0.3}
  head: {z_loss: 0.01}
  sublayers:
    gdn: {type: gated_delta_net, num_key_heads: 4, num_value_heads: 8, key_head_dim: 4, value_head_dim: 4}
    moe: {type: moe, num_experts: 6, experts_per_token: 2, expert_size: 6, shared_size: 5, shared_gate: true,
          router: {aux_loss: 0.05, aux_scope: global, z_loss: 0.01, bias_update_rate: 0.001}}
    dense: {type: mlp, size: 12}
)";
        const Variant& v = variant_;
        return parse_run_config(
            fmt::format("name: relayout\nmodel:\n  vocab_size: 257\n  hidden_size: 8\n  tie_embeddings: {}{}"
                        "    attn: {{type: attention, num_heads: {}, num_kv_heads: {}, head_dim: 4, qk_norm: "
                        "per_head, gate: elementwise}}\n"
                        "parallel: {{{}}}\n"
                        "train: {{steps: 8, sequence_length: 16, global_batch: {}, micro_batch: 1, "
                        "precision: {}}}\n"
                        // A larger eps, so that no update is noise divided by noise.
                        "optimizer: {{type: {}, lr: 0.01, eps: 0.0001, clip: 0.5}}\n"
                        "data: {{train: [{{path: {}}}]}}\n",
                        v.tied, model, v.num_heads, v.num_kv_heads, parallel, v.global_batch, v.precision,
                        v.optimizer, folder_ / "tokens.h5"),
            "test");
    }

    /// Runs `body` with a trainer on every rank of a layout.
    void on_ranks(const RunLayout& layout, const std::function<void(Trainer&, bool first)>& body) const {
        const RunConfig run = config(layout.parallel);
        run_thread_ranks(layout.num_ranks, [&](Communicator& world) {
            Trainer trainer(run, world, layout.num_ranks);
            body(trainer, world.rank() == 0);
        });
    }

    /// Loads `from` if there is one, takes `before` steps, saves into folder `to` and takes `after` more.
    /// Returns the losses of all these steps.
    std::vector<double> train(const RunLayout& layout, const std::optional<std::string>& from, int before,
                              const std::string& to, int after) const {
        std::vector<double> losses;
        on_ranks(layout, [&](Trainer& trainer, bool first) {
            if (from) trainer.load(*from);
            const auto step = [&] {
                const double loss = trainer.step(false).loss;
                if (first) losses.push_back(loss);
            };
            for (int i = 0; i < before; ++i) step();
            trainer.save(folder_ / to);
            for (int i = 0; i < after; ++i) step();
        });
        return losses;
    }

    std::string checkpoint(const std::string& folder, int64_t step) const {
        return folder_ / fmt::format("{}/step-{:08}", folder, step);
    }

    CheckpointDifference difference(const std::string& a, const std::string& b, int64_t step) const {
        return compare_checkpoints(CheckpointReader::open(checkpoint(a, step)),
                                   CheckpointReader::open(checkpoint(b, step)));
    }

  private:
    TemporaryFolder folder_;
    Variant variant_;
};

void expect_equal(const CheckpointDifference& difference, const std::string& what) {
    EXPECT_TRUE(difference.structure.empty()) << what << ": " << fmt::format("{}", difference.structure);
    for (const TensorDifference& tensor : difference.tensors)
        ADD_FAILURE() << what << ": " << tensor.name << " differs in " << tensor.num_different << " of "
                      << tensor.num_elements << " elements by up to " << tensor.max_difference;
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b, const std::string& what) {
    ASSERT_EQ(a.size(), b.size()) << what;
    for (size_t i = 0; i < a.size(); ++i) {
        EXPECT_GT(b[i], 0) << what;
        EXPECT_LE(std::abs(a[i] - b[i]), kLossBound * b[i]) << what << ", step " << i + 1 << " of these";
    }
}

/// Two steps under `a`, saved; loaded under `b` and saved again. Then two steps under each: the first shows
/// the loaded weights, the second also the loaded moments, biases and counts.
void expect_same_state(const RunLayout& a, const RunLayout& b, const Variant& variant) {
    const std::string what = fmt::format("{} to {}, {}, {}{}", name_of(a), name_of(b), variant.precision,
                                         variant.optimizer, variant.tied ? ", tied" : "");
    const RelayoutCase run(variant);
    std::vector<double> expected = run.train(a, {}, 2, "a", 2);
    expected.erase(expected.begin(), expected.begin() + 2);
    const std::vector<double> found = run.train(b, run.checkpoint("a", 2), 0, "b", 2);
    const CheckpointReader saved = CheckpointReader::open(run.checkpoint("b", 2));
    EXPECT_EQ(saved.manifest().training.step, 2) << what;
    EXPECT_EQ(saved.manifest().training.sample, 2 * variant.global_batch) << what;
    EXPECT_GT(saved.manifest().training.tokens, 0) << what;
    expect_equal(run.difference("a", "b", 2), what);
    if (variant.precision == "f64") expect_near(found, expected, what);
}

const std::vector<std::pair<RunLayout, RunLayout>> kPairs = {
    {{1, "data: 1"}, {2, "tensor: 2"}},
    {{2, "tensor: 2"}, {2, "expert: 2"}},
    {{4, "tensor: 2, expert: 2"}, {4, "data: 4, zero: 0"}},
    {{4, "tensor: 4"}, {1, ""}}, // key/value heads on two ranks each
    {{1, ""}, {4, "tensor: 4, sequence: false"}},
    {{2, "expert_tensor: 2"}, {3, "expert: 3"}},
    {{3, "expert_tensor: 3, zero: 0"}, {4, "tensor: 2, expert: 2, expert_tensor: 2"}},
    {{4, "tensor: 4, sequence: false, zero: 0"}, {4, "tensor: 4, expert: 2"}},
    {{6, "expert: 6"}, {2, "tensor: 2, sequence: false, zero: 0"}},
    {{4, "expert: 2, expert_tensor: 2"}, {6, "tensor: 2, expert: 3"}},
    {{5, "zero: 1"}, {3, "zero: 0"}}, // a batch that does not divide
};

/// All pairs; with a sanitizer every third from `first` on, so that three variants have each pair once.
void expect_same_states(size_t first, const Variant& variant) {
    for (size_t i = test::kSanitized ? first : 0; i < kPairs.size(); i += test::kSanitized ? 3 : 1)
        expect_same_state(kPairs[i].first, kPairs[i].second, variant);
}

TEST(relayout, state_is_the_same_to_the_bit_under_another_layout) {
    expect_same_states(1, {});
}

TEST(relayout, state_of_a_tied_model_is_the_same_to_the_bit) {
    expect_same_states(0, {.tied = true});
}

TEST(relayout, state_in_f32_is_the_same_to_the_bit) {
    for (size_t i = 0; i < (test::kSanitized ? 1 : 4); ++i)
        expect_same_state(kPairs[i].first, kPairs[i].second, {.precision = "f32"});
}

TEST(relayout, state_of_matrices_is_the_same_to_the_bit) {
    expect_same_states(2, {.optimizer = "muon"});
}

void expect_exact_resume(const RunLayout& layout, const Variant& variant) {
    const RelayoutCase run(variant);
    const std::vector<double> begun = run.train(layout, {}, 2, "part", 0);
    const std::vector<double> resumed = run.train(layout, run.checkpoint("part", 2), 2, "resumed", 0);
    const std::vector<double> straight = run.train(layout, {}, 4, "straight", 0);
    EXPECT_EQ(begun, std::vector(straight.begin(), straight.begin() + 2)) << name_of(layout);
    EXPECT_EQ(resumed, std::vector(straight.begin() + 2, straight.end())) << name_of(layout);
    expect_equal(run.difference("resumed", "straight", 4), name_of(layout));
}

TEST(relayout, resuming_under_the_same_layout_changes_no_bit) {
    for (const char* optimizer : {"adamw", "muon"}) {
        if (!test::kSanitized || optimizer == std::string("adamw"))
            expect_exact_resume({4, "tensor: 2, expert: 2"}, {.optimizer = optimizer});
        if (!test::kSanitized || optimizer == std::string("muon"))
            expect_exact_resume({4, "tensor: 4, expert: 2, expert_tensor: 2, zero: 0"},
                                {.optimizer = optimizer});
    }
}

TEST(relayout, a_batch_that_does_not_divide_feeds_ranks_that_share_experts) {
    for (const int global_batch : {5, 6, 7}) {
        const RelayoutCase run({.global_batch = global_batch});
        const std::vector<double> alone = run.train({1, ""}, {}, 3, "alone", 0);
        for (const RunLayout& layout :
             {RunLayout{4, "expert: 2"}, RunLayout{4, "expert: 2, expert_tensor: 2"}})
            expect_near(run.train(layout, {}, 3, "shared" + std::to_string(layout.parallel.size()), 0), alone,
                        fmt::format("{}, batch {}", name_of(layout), global_batch));
    }
}

/// Expects that every rank of the layout is refused with exit code 2 and a message of all these parts.
void expect_refused(const Variant& variant, const RunLayout& layout, const std::vector<std::string>& parts) {
    const RelayoutCase run(variant);
    const RunConfig config = run.config(layout.parallel);
    std::vector<std::string> messages(static_cast<size_t>(layout.num_ranks));
    run_thread_ranks(layout.num_ranks, [&](Communicator& world) {
        try {
            Trainer(config, world, layout.num_ranks);
        } catch (const Error& error) {
            EXPECT_EQ(error.exit_code(), ExitCode::usage) << name_of(layout);
            messages[static_cast<size_t>(world.rank())] = error.what();
        }
    });
    for (const std::string& message : messages) {
        EXPECT_EQ(message, messages[0]) << name_of(layout);
        for (const std::string& part : parts) EXPECT_THAT(message, HasSubstr(part)) << name_of(layout);
    }
}

TEST(relayout, a_layout_that_does_not_fit_is_refused_on_all_ranks_with_the_numbers) {
    expect_refused({.num_heads = 3, .num_kv_heads = 3}, {2, "tensor: 2"},
                   {"model.sublayers.attn.num_heads: 3", "parallel.tensor: 2", "tensor may be 1, 3"});
    expect_refused({}, {4, "expert: 4"},
                   {"model.sublayers.moe.num_experts: 6", "parallel.expert: 4", "expert may be 1, 2, 3, 6"});
    expect_refused({}, {4, "expert_tensor: 4"},
                   {"model.sublayers.moe.expert_size: 6", "parallel.expert_tensor: 4"});
    expect_refused({}, {3, "tensor: 2"},
                   {"parallel.tensor: 2 does not divide the 3 ranks", "expected one of 1, 3"});
    expect_refused({}, {4, "expert: 3"}, {"parallel.expert x parallel.expert_tensor: 3", "the 4 ranks"});
    expect_refused({}, {4, "tensor: 2, data: 4"}, {"parallel.data", "4 / tensor 2 = 2", "found 4"});
    expect_refused({.global_batch = 3}, {4, ""}, {"train.global_batch: 3 sequences", "4 data ranks"});
}

} // namespace
} // namespace braid
