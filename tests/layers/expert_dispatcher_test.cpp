#include "layers/feed_forward/expert_dispatcher.h"

#include <mutex>
#include <set>

#include "layers/feed_forward/moe_config.h"
#include "parallel/agreement.h"
#include "parallel/mesh.h"
#include "parallel/thread_comm.h"
#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

constexpr int64_t kExperts = 4, kChoices = 2;

/// Tokens of one rank: the experts that each goes to.
using Choices = std::vector<std::pair<int, int>>;

ExpertDispatcher::Dispatched dispatch(TestContext& t, const Mesh& mesh, const Choices& tokens,
                                      int64_t receive_tokens) {
    const MoeConfig config{.num_experts = kExperts,
                           .experts_per_token = kChoices,
                           .expert_size = 1,
                           .receive_tokens = receive_tokens};
    t.ctx.mesh = &mesh;
    const auto count = static_cast<int64_t>(tokens.size());
    std::vector<double> expert;
    for (const auto& [first, second] : tokens) {
        expert.push_back(first);
        expert.push_back(second);
    }
    const std::string rank = std::to_string(mesh.world().rank());
    const ExpertDispatcher dispatcher(config, mesh.grid(), 3, "moe");
    return dispatcher.dispatch(t.ctx, random_tensor(t.allocator, {count, 5}, DType::f64, "h" + rank),
                               random_tensor(t.allocator, {count, kChoices}, DType::f64, "weight" + rank),
                               from_vector(t.allocator, {count, kChoices}, DType::i32, expert), [] {});
}

/// What every rank throws; all must throw the same.
std::string refusal(const ParallelConfig& sizes, const std::vector<Choices>& tokens, int64_t receive_tokens) {
    std::mutex mutex;
    std::multiset<std::string> messages;
    run_thread_ranks(static_cast<int>(tokens.size()), [&](Communicator& world) {
        TestContext t;
        const Mesh mesh(world, sizes);
        try {
            dispatch(t, mesh, tokens[static_cast<size_t>(world.rank())], receive_tokens);
        } catch (const AgreedError& error) {
            EXPECT_EQ(error.exit_code(), ExitCode::non_finite);
            const std::lock_guard lock(mutex);
            messages.insert(error.what());
        }
    });
    if (messages.empty()) return "";
    EXPECT_EQ(messages.size(), tokens.size()) << "ranks that threw";
    EXPECT_EQ(std::set<std::string>(messages.begin(), messages.end()).size(), 1U) << *messages.rbegin();
    return *messages.begin();
}

// Four ranks are two copies of experts 0, 1 | 2, 3. Ranks 2 and 3 send three tokens to the first half and two
// to the second; rank 1 has none.
const std::vector<Choices> kTokens = {{{0, 2}}, {}, {{0, 1}, {1, 0}, {1, 3}}, {{3, 2}}};

TEST(expert_dispatcher, a_load_that_fits_travels_as_without_a_bound) {
    for (const ParallelConfig& sizes : {ParallelConfig{.expert = 2}, ParallelConfig{.expert = 4},
                                        ParallelConfig{.expert = 2, .expert_tensor = 2},
                                        ParallelConfig{.expert_tensor = 4}, ParallelConfig{.expert = 1}})
        run_thread_ranks(4, [&](Communicator& world) {
            TestContext t;
            const Mesh mesh(world, sizes);
            const Choices& tokens = kTokens[static_cast<size_t>(world.rank())];
            const Values unbounded = dispatch(t, mesh, tokens, 0).pack();
            const Values bounded = dispatch(t, mesh, tokens, 5).pack();
            ASSERT_EQ(bounded.size(), unbounded.size());
            for (size_t i = 0; i < bounded.size(); ++i)
                expect_identical(bounded[i], unbounded[i], "value " + std::to_string(i));
        });
}

TEST(expert_dispatcher, every_rank_refuses_a_load_beyond_the_bound_of_any) {
    EXPECT_EQ(refusal({.expert = 2}, kTokens, 3), "");
    EXPECT_EQ(refusal({.expert = 2}, kTokens, 2),
              "layers.3.moe: expected at most 2 tokens (model.sublayers.moe.receive_tokens) for the experts "
              "of a rank in one micro-batch, found 3 for rank 2\n"
              "     rank    tokens  expert: choices\n"
              "        2         3  0: 2, 1: 3\n"
              "        3         2  2: 1, 3: 2");
}

TEST(expert_dispatcher, ranks_that_share_experts_receive_the_same_tokens) {
    // One copy: experts 0, 1 on ranks 0 and 1; experts 2, 3 on ranks 2 and 3.
    EXPECT_EQ(refusal({.expert = 2, .expert_tensor = 2}, kTokens, 4), "");
    EXPECT_EQ(refusal({.expert = 2, .expert_tensor = 2}, kTokens, 3),
              "layers.3.moe: expected at most 3 tokens (model.sublayers.moe.receive_tokens) for the experts "
              "of a rank in one micro-batch, found 4 for rank 0\n"
              "     rank    tokens  expert: choices\n"
              "   0 to 1         4  0: 3, 1: 3\n"
              "   2 to 3         3  2: 2, 3: 2");
}

} // namespace
} // namespace braid::testing
