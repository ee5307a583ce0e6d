#include "trainer/config/run_layout.h"

#include "tests/support/config_text.h"

namespace braid::testing {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

RunConfig run_in_layout(const std::vector<std::string>& overrides) {
    return parse_run_config(kHybridRun, "run.yaml", overrides);
}

std::string refusal(int num_ranks, const std::vector<std::string>& overrides) {
    return config_error([&] { expect_run_fits(run_in_layout(overrides), num_ranks); });
}

TEST(run_layout, accepts_what_can_run) {
    for (const auto& [ranks, overrides] : std::vector<std::pair<int, std::vector<std::string>>>{
             {1, {}},
             {8, {}},
             {5, {}}, // of a batch of 8
             {16, {"parallel.tensor=2"}},
             {4, {"parallel.tensor=2", "parallel.data=2", "parallel.expert=4"}}})
        EXPECT_NO_THROW(expect_run_fits(run_in_layout(overrides), ranks));
}

TEST(run_layout, says_which_layouts_would_work) {
    const std::string heads = refusal(6, {"parallel.tensor=3"});
    EXPECT_THAT(heads, HasSubstr("num_key_heads: 2 cannot be shared out over parallel.tensor: 3"));
    EXPECT_THAT(heads,
                EndsWith("\nlayouts that would work on 6 ranks: parallel.data=3 parallel.tensor=2; "
                         "parallel.data=6; parallel.data=3 parallel.tensor=2 parallel.expert_tensor=2; "
                         "parallel.data=3 parallel.tensor=2 parallel.expert=2; "
                         "parallel.data=6 parallel.expert_tensor=2"));
    const std::string ranks = refusal(6, {"parallel.tensor=4"});
    EXPECT_THAT(ranks, StartsWith("parallel.tensor: 4 does not divide the 6 ranks of this job"));
    EXPECT_THAT(ranks, HasSubstr("\nlayouts that would work on 6 ranks: parallel.data=3 parallel.tensor=2;"));
    const std::string product = refusal(6, {"parallel.expert=65536", "parallel.expert_tensor=65536"});
    EXPECT_THAT(product, HasSubstr("4294967296 does not divide the 6 ranks"));
    EXPECT_THAT(product,
                HasSubstr("\nlayouts that would work on 6 ranks: parallel.data=6 parallel.expert_tensor=2;"));
}

TEST(run_layout, data_ranks_must_be_what_is_left_and_have_a_sequence_each) {
    const std::string data = refusal(2, {"parallel.data=3"});
    EXPECT_THAT(data, StartsWith("parallel.data: expected what is left of the ranks, 2 / tensor 1 = 2"));
    EXPECT_THAT(data, HasSubstr("\nlayouts that would work on 2 ranks: parallel.data=2;"));
    const std::string batch = refusal(12, {"train.global_batch=6"});
    EXPECT_THAT(batch, StartsWith("train.global_batch: 6 sequences cannot feed 12 data ranks"));
    EXPECT_THAT(batch,
                HasSubstr("\nlayouts that would work on 12 ranks: parallel.data=6 parallel.tensor=2;"));
    // Two tensor ranks at most: sixteen ranks for a batch of eight.
    const std::string many = refusal(1024, {});
    EXPECT_THAT(many, HasSubstr("\nlayouts that would work on 16 ranks: parallel.data=8 parallel.tensor=2;"));
}

TEST(run_layout, a_batch_balanced_as_a_whole_is_one_micro_batch_everywhere) {
    const std::vector<std::string> whole{"model.sublayers.moe.router.aux_scope=batch"};
    EXPECT_NO_THROW(expect_run_fits(run_in_layout(whole), 4)); // 8 sequences, micro-batches of 2
    const std::string few = refusal(2, whole);
    EXPECT_THAT(few, HasSubstr("found 8 / 2 and micro_batch 2"));
    EXPECT_EQ(few.find("layouts that would work"), std::string::npos); // fewer data ranks make it worse
    EXPECT_THAT(refusal(6, whole), HasSubstr("\nlayouts that would work on 4 ranks: parallel.data=4;"));
}

} // namespace
} // namespace braid::testing
