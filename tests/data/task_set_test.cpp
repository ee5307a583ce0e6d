#include "data/task_set.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>

#include "base/error.h"
#include "data/json_choices.h"
#include "tests/data/token_fixture.h"
#include "tests/support/temporary_folder.h"

namespace braid {
namespace {

using test::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int32_t> ids(std::string_view text) {
    return encode(*make_tokenizer("bytes"), text);
}

class TaskFile {
  public:
    explicit TaskFile(const std::string& lines) { test::write_file(path(), lines); }
    std::string path() const { return folder_ / "questions.jsonl"; }
    TaskSet open(int64_t items = 0, int64_t length = 64, int64_t batch_tokens = 64) const {
        return TaskSet(path(), *make_tokenizer("bytes"),
                       {.items = items, .length = length, .batch_tokens = batch_tokens, .vocab_size = 256});
    }
    std::string refusal(int64_t length = 64) const {
        try {
            open(0, length);
        } catch (const DataError& error) {
            return error.what();
        }
        return "no error";
    }

  private:
    TemporaryFolder folder_;
};

constexpr const char* kTwo = R"({"context": "ab", "choices": ["c", "de"], "answer": 1}

{"id": [[{"choices": 7}]], "answer": 0, "choices": ["f", "g", "hij"], "context": "k", "answers": null}
)";

TEST(task_set, choices_follow_their_context_and_alone_are_labels) {
    const TaskSet task = TaskFile(kTwo).open();
    EXPECT_EQ(task.num_items(), 2);
    EXPECT_EQ(task.num_documents(), 5);
    ASSERT_EQ(task.num_batches(), 1);
    const MicroBatch batch = task.batch(0);
    // "abc" without its last token, "abde", "kf", "kg" and "khij".
    EXPECT_EQ(batch.tokens, ids("ababdkkkhi"));
    std::vector<int32_t> labels = ids(" c defghij");
    labels[0] = labels[2] = -1;
    EXPECT_EQ(batch.labels, labels);
    EXPECT_THAT(batch.document_offsets, ElementsAre(0, 2, 5, 6, 7, 10));
    EXPECT_EQ(batch.num_valid_labels, 8);
    EXPECT_EQ(batch.num_sequences, 1);
    EXPECT_EQ(batch.sequence_length, 10);
}

TEST(task_set, batches_hold_whole_documents) {
    const TaskSet task = TaskFile(kTwo).open(0, 64, 4);
    // Of 2, 3, 1, 1 and 3 tokens.
    ASSERT_EQ(task.num_batches(), 3);
    for (const auto& [batch, first] : std::vector<std::pair<int64_t, int64_t>>{{0, 0}, {1, 1}, {2, 3}})
        EXPECT_EQ(task.first_document(batch), first);
    // One that is longer than a batch comes alone.
    EXPECT_EQ(TaskFile(kTwo).open(0, 64, 1).num_batches(), 5);
    EXPECT_EQ(TaskFile(kTwo).open(1).num_items(), 1);
}

TEST(task_set, a_long_context_loses_its_beginning) {
    const TaskFile file(R"({"context": "0123456789", "choices": ["ab", "c"], "answer": 0})");
    const TaskSet task = file.open(0, 4);
    EXPECT_EQ(task.num_cut(), 1);
    const MicroBatch batch = task.batch(0);
    EXPECT_EQ(batch.tokens, ids("789a6789"));
    EXPECT_EQ(batch.labels[2], 'a');
    EXPECT_EQ(batch.labels[7], 'c');
    EXPECT_EQ(file.open(0, 11).num_cut(), 0);
    EXPECT_THAT(file.refusal(1), HasSubstr("line 1: 'choices': expected at most train.sequence_length = 1 "
                                           "tokens, found 2"));
}

TEST(task_set, scores) {
    const TaskSet task = TaskFile(kTwo).open();
    // The first item's answer is likelier only per byte (1.6 / 2 against 1); the second's is likeliest.
    const TaskScore score = task.score(std::vector<double>{1.0, 1.6, 0.5, 0.7, 1.8});
    EXPECT_EQ(score.accuracy, 0.5);
    EXPECT_DOUBLE_EQ(score.accuracy_stderr, std::sqrt(0.25)); // n - 1 is 1
    EXPECT_EQ(score.accuracy_norm, 1.0);
    EXPECT_DOUBLE_EQ(score.bits_per_byte, (1.6 + 0.5) / 3 / std::log(2.0));
    // Of equals the first is chosen.
    EXPECT_EQ(task.score(std::vector<double>(5, 1.0)).accuracy, 0.5);
    EXPECT_TRUE(std::isnan(TaskFile(kTwo).open(1).score(std::vector<double>{1, 2}).accuracy_stderr));
}

TEST(task_set, what_is_no_item_is_refused_with_its_line) {
    for (const auto& [line, expected] : std::vector<std::pair<std::string, std::string>>{
             {"[1]", "expected a JSON object, found a list"},
             {"7", "expected a JSON object, found a number"},
             {R"({"context": "a", "choices": ["b", "c"], "answer": 0)", "not valid JSON at byte"},
             {R"({"context": "a", "choices": ["b", "c"]})", "expected the key 'answer', found none"},
             {R"({"choices": ["b", "c"], "answer": 0})", "expected the key 'context', found none"},
             {R"({"context": "a", "choices": ["b"], "answer": 0})",
              "'choices': expected two texts at least, found 1"},
             {R"({"context": "a", "choices": "bc", "answer": 0})",
              "'choices': expected a list of texts, found a text"},
             {R"({"context": "a", "choices": ["b", ["c"]], "answer": 0})",
              "'choices': expected a list of texts, found a list in it"},
             {R"({"context": "a", "choices": ["b", 3], "answer": 0})",
              "'choices': expected a list of texts, found a number in it"},
             {R"({"context": ["a"], "choices": ["b", "c"], "answer": 0})",
              "'context': expected a text, found a list"},
             {R"({"context": "a", "choices": ["b", "c"], "answer": 2})",
              "'answer': expected 0 to 1, the number of a choice, found 2"},
             {R"({"context": "a", "choices": ["b", "c"], "answer": -1})", "found -1"},
             {R"({"context": "a", "choices": ["b", "c"], "answer": 0.5})", "a number that is not whole"},
             {R"({"context": "a", "choices": ["b", "c"], "answer": 18446744073709551615})", "64 bits"},
             {R"({"context": "a", "choices": ["b", "c"], "answer": "b"})",
              "'answer': expected a whole number, found a text"},
             {R"({"context": "a", "context": "b", "choices": ["b", "c"], "answer": 0})",
              "the key 'context' appears twice"},
             {R"({"context": "", "choices": ["b", "c"], "answer": 0})", "'context': expected at least one"},
             {R"({"context": "a", "choices": ["", "c"], "answer": 0})",
              "'choices': expected at least one"}}) {
        const std::string message = TaskFile(std::string(kTwo) + line + "\n").refusal();
        EXPECT_THAT(message, HasSubstr("questions.jsonl: line 4: ")) << line;
        EXPECT_THAT(message, HasSubstr(expected)) << line;
    }
    EXPECT_THAT(TaskFile("\n \n").refusal(), HasSubstr("expected at least one item, found none"));
    // However deep, nothing else is built.
    const std::string deep(200'000, '[');
    EXPECT_THAT(read_choice_item("{\"x\": " + deep).problem, HasSubstr("not valid JSON"));
    const std::string closed = deep + std::string(deep.size(), ']');
    EXPECT_EQ(
        read_choice_item("{\"x\": " + closed + R"(, "context": "a", "choices": ["b", "c"], "answer": 1})")
            .problem,
        "");
}

} // namespace
} // namespace braid
