// Tasks and prompts in layouts, against each document run by itself on one rank.

#include <gmock/gmock.h>

#include <cmath>
#include <map>

#include "parallel/thread_comm.h"
#include "tensor/host_values.h"
#include "tests/support/temporary_folder.h"
#include "tests/trainer/parity_case.h"
#include "trainer/training/continuation.h"
#include "trainer/training/evaluator.h"
#include "trainer/training/training_rank.h"

namespace braid::testing {
namespace {

struct Found {
    TaskScore score;
    std::vector<std::string> greedy, drawn;
};

/// The parity model with a vocabulary of bytes, in any layout.
class EvaluationCase {
  public:
    EvaluationCase() : run_(parity_case(AuxScope::sequence, false)), tokenizer_(make_tokenizer("bytes")) {
        run_.model.vocab_size = 256;
        test::write_file(
            folder_ / "task.jsonl",
            R"({"context": "the river ", "choices": ["bends", "is", "and lays down"], "answer": 2})"
            "\n"
            R"({"context": "a", "choices": ["b", "c"], "answer": 0})"
            "\n"
            R"({"context": "what it takes from one bank ", "choices": ["x", "yy", "zzz", "w"], "answer": 3})"
            "\n"
            R"({"context": "stone", "choices": ["s", " "], "answer": 1})"
            "\n");
    }

    TaskSet task(int64_t batch_tokens) const {
        return TaskSet(folder_ / "task.jsonl", *tokenizer_,
                       {.length = 24, .batch_tokens = batch_tokens, .vocab_size = 256});
    }
    std::unique_ptr<TrainingRank> rank(const ParallelConfig& parallel, Communicator& world) const {
        auto made = std::make_unique<TrainingRank>(run_.model, run_.freeze, world,
                                                   TrainingRank::Options{.parallel = parallel,
                                                                         .global_batch = run_.global_batch,
                                                                         .micro_batch = run_.global_batch,
                                                                         .sequence_length = 24,
                                                                         .precision = DType::f64},
                                                   Stream());
        made->allocate(run_.optimizer, run_.seed);
        return made;
    }
    Found evaluate(TrainingRank& rank, int64_t batch_tokens) const {
        const auto texts = [&](double temperature) {
            return continue_texts(rank.model(), rank.allocator(), rank.mesh(), *tokenizer_, prompts_,
                                  {.tokens = 9, .temperature = temperature, .seed = 5});
        };
        return {braid::evaluate(rank.model(), rank.allocator(), rank.mesh(), task(batch_tokens)), texts(0),
                texts(0.5)};
    }

    /// log p of each next token of a text, run by itself.
    std::vector<double> log_probabilities(TrainingRank& rank, const std::vector<int32_t>& tokens) const {
        const std::vector<std::vector<double>> logits = all_logits(rank, tokens);
        std::vector<double> result;
        for (size_t t = 0; t + 1 < tokens.size(); ++t) {
            double sum = 0;
            for (const double logit : logits[t]) sum += std::exp(logit);
            result.push_back(logits[t][static_cast<size_t>(tokens[t + 1])] - std::log(sum));
        }
        return result;
    }
    std::vector<std::vector<double>> all_logits(TrainingRank& rank,
                                                const std::vector<int32_t>& tokens) const {
        LayerContext ctx;
        ctx.allocator = &rank.allocator();
        ctx.documents = Documents::single(static_cast<int64_t>(tokens.size()));
        const Tensor logits =
            rank.model().logits(ctx, rank.model().hidden(ctx, tensor_of(rank.allocator(), tokens)));
        const std::vector<double> flat = host_values<double>(logits);
        std::vector<std::vector<double>> rows;
        for (size_t t = 0; t < tokens.size(); ++t)
            rows.emplace_back(flat.begin() + static_cast<int64_t>(t) * 256,
                              flat.begin() + static_cast<int64_t>(t + 1) * 256);
        return rows;
    }
    const std::vector<std::string>& prompts() const { return prompts_; }
    const Tokenizer& tokenizer() const { return *tokenizer_; }

  private:
    test::TemporaryFolder folder_;
    LayoutCase run_;
    std::unique_ptr<Tokenizer> tokenizer_;
    const std::vector<std::string> prompts_{"the river", "s", "lays down on"};
};

TEST(evaluation, tasks_score_each_choice_behind_its_context) {
    const EvaluationCase evaluation;
    const auto world = self_communicator();
    const auto rank = evaluation.rank({}, *world);
    const TaskSet task = evaluation.task(64);
    std::vector<double> nats;
    for (int64_t b = 0; b < task.num_batches(); ++b) {
        const MicroBatch batch = task.batch(b);
        for (size_t d = 0; d + 1 < batch.document_offsets.size(); ++d) {
            const auto begin = static_cast<size_t>(batch.document_offsets[d]),
                       end = static_cast<size_t>(batch.document_offsets[d + 1]);
            std::vector<int32_t> tokens(batch.tokens.begin() + static_cast<int64_t>(begin),
                                        batch.tokens.begin() + static_cast<int64_t>(end));
            tokens.push_back(batch.labels[end - 1]);
            const std::vector<double> all = evaluation.log_probabilities(*rank, tokens);
            nats.push_back(0);
            for (size_t t = begin; t < end; ++t)
                if (batch.labels[t] >= 0) nats.back() -= all[t - begin];
        }
    }
    const TaskScore expected = task.score(nats), found = evaluation.evaluate(*rank, 64).score;
    EXPECT_EQ(found.accuracy, expected.accuracy);
    EXPECT_EQ(found.accuracy_norm, expected.accuracy_norm);
    // Both are sums of some hundred f64 roundings in another order.
    EXPECT_NEAR(found.bits_per_byte, expected.bits_per_byte, 1e-12);
    EXPECT_GT(found.bits_per_byte, 4);
}

TEST(evaluation, prompts_go_on_with_the_likeliest_token) {
    const EvaluationCase evaluation;
    const auto world = self_communicator();
    const auto rank = evaluation.rank({}, *world);
    const Found found = evaluation.evaluate(*rank, 64);
    for (size_t p = 0; p < evaluation.prompts().size(); ++p) {
        std::vector<int32_t> tokens = encode(evaluation.tokenizer(), evaluation.prompts()[p]), drawn;
        for (int i = 0; i < 9; ++i) {
            const std::vector<double> last = evaluation.all_logits(*rank, tokens).back();
            tokens.push_back(static_cast<int32_t>(std::max_element(last.begin(), last.end()) - last.begin()));
            drawn.push_back(tokens.back());
        }
        EXPECT_EQ(found.greedy[p], evaluation.tokenizer().decode(drawn));
        EXPECT_NE(found.drawn[p], found.greedy[p]);
    }
}

TEST(evaluation, tokens_are_drawn_as_likely_as_they_are) {
    const EvaluationCase evaluation;
    const auto world = self_communicator();
    const auto rank = evaluation.rank({}, *world);
    constexpr double kTemperature = 0.3;
    constexpr int kDraws = 3000;
    std::vector<double> likelihood = evaluation.all_logits(*rank, {'q'}).back();
    double sum = 0;
    for (double& value : likelihood) sum += value = std::exp(value / kTemperature);
    std::map<int32_t, int> counts;
    for (int i = 0; i < kDraws; ++i)
        ++counts[static_cast<uint8_t>(continue_texts(
            rank->model(), rank->allocator(), rank->mesh(), evaluation.tokenizer(), {"q"},
            {.tokens = 1, .temperature = kTemperature, .seed = static_cast<uint64_t>(i)})[0][0])];
    int common = 0;
    for (int32_t token = 0; token < 256; ++token) {
        const double p = likelihood[static_cast<size_t>(token)] / sum;
        common += p > 0.01;
        // Five standard deviations of a count, and one for those that hardly ever come.
        EXPECT_NEAR(counts[token], kDraws * p, 1 + 5 * std::sqrt(kDraws * p * (1 - p))) << token;
    }
    EXPECT_GT(common, 3);
}

TEST(evaluation, layouts_find_the_same) {
    const EvaluationCase evaluation;
    const Found alone = evaluation.evaluate(*evaluation.rank({}, *self_communicator()), 32);
    const std::vector<std::pair<int, ParallelConfig>> layouts{{2, {.tensor = 2}},
                                                              {2, {.tensor = 2, .sequence = false}},
                                                              {3, {.expert = 3}},
                                                              {4, {.tensor = 2, .expert = 2}},
                                                              {5, {}}};
    for (const auto& [ranks, parallel] : layouts)
        run_thread_ranks(ranks, [&, parallel = parallel](Communicator& world) {
            const Found found = evaluation.evaluate(*evaluation.rank(parallel, world), 32);
            EXPECT_EQ(found.score.accuracy, alone.score.accuracy);
            EXPECT_EQ(found.score.accuracy_norm, alone.score.accuracy_norm);
            EXPECT_NEAR(found.score.bits_per_byte, alone.score.bits_per_byte, 1e-12);
            EXPECT_EQ(found.greedy, alone.greedy);
            EXPECT_EQ(found.drawn, alone.drawn);
        });
}

} // namespace
} // namespace braid::testing
