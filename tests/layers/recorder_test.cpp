#include "layers/sublayer/recorder.h"

#include <limits>

#include "parallel/thread_comm.h"
#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Hands over sequences of two tokens; labels not given count.
void add(Recorder& recorder, Allocator& allocator, int64_t first_sample, const std::vector<double>& losses,
         std::vector<double> labels = {}) {
    const auto tokens = static_cast<int64_t>(losses.size());
    labels.resize(losses.size(), 0);
    const Documents documents{{0, static_cast<int32_t>(tokens)}, tokens / 2, first_sample};
    recorder.add_sequences(std::make_shared<const Documents>(documents),
                           from_vector(allocator, {tokens}, DType::f64, losses),
                           from_vector(allocator, {tokens}, DType::i32, labels));
}

TEST(recorder, equal_losses_stand_by_sample_and_sequences_without_labels_nowhere) {
    Allocator allocator;
    Recorder recorder(0, false);
    // Means 2, 3, none, 4 (of its one label); then 3, 3, 1.
    add(recorder, allocator, 10, {1, 3, 3, 3, 0, 0, 0, 4}, {0, 0, 0, 0, -1, -1, -1, 0});
    EXPECT_EQ(recorder.worst_sequences(), (std::vector<SequenceLoss>{{13, 4}, {11, 3}, {10, 2}}));
    add(recorder, allocator, 4, {2, 4, 3, 3, 1, 1});
    EXPECT_EQ(recorder.worst_sequences(), (std::vector<SequenceLoss>{{13, 4}, {4, 3}, {5, 3}, {11, 3}}));
}

TEST(recorder, a_loss_that_is_no_number_comes_first) {
    Allocator allocator;
    Recorder recorder(0, false);
    add(recorder, allocator, 0, {1, 1, kNan, 1, 9, 9, 2, 2, 3, 3});
    ASSERT_EQ(recorder.worst_sequences().size(), Recorder::kNumWorstSequences);
    EXPECT_EQ(recorder.worst_sequences()[0].sample, 1);
    EXPECT_EQ(recorder.worst_sequences()[1], (SequenceLoss{2, 9}));
}

TEST(recorder, ranks_agree_on_the_worst_sequences) {
    // The second of three ranks has no sample.
    std::vector<std::vector<SequenceLoss>> worst(3);
    run_thread_ranks(3, [&](Communicator& comm) {
        Allocator allocator;
        Recorder recorder(0, false);
        if (comm.rank() == 0) add(recorder, allocator, 0, {5, 5, 1, 1});
        if (comm.rank() == 2) add(recorder, allocator, 2, {5, 5, 2, 2, 6, 6, 0, 0, 1, 1});
        recorder.reduce(comm);
        worst[static_cast<size_t>(comm.rank())] = recorder.worst_sequences();
    });
    for (const auto& found : worst)
        EXPECT_EQ(found, (std::vector<SequenceLoss>{{4, 6}, {0, 5}, {2, 5}, {3, 2}}));
}

} // namespace
} // namespace braid::testing
