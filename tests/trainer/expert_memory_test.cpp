// moe.piece_tokens bounds what experts take, however the router shares tokens out.

#include <gtest/gtest.h>

#include "layers/feed_forward/moe_config.h"
#include "layers/specification/layout_check.h"
#include "parallel/thread_comm.h"
#include "trainer/training/step.h"

namespace braid {
namespace {

constexpr int64_t kTokens = 64, kHidden = 4, kExpertSize = 256, kChoices = 2;

/// Experts so wide that nothing else matters.
ModelConfig wide_experts(int64_t piece_tokens) {
    ModelConfig model;
    model.vocab_size = 11;
    model.hidden_size = kHidden;
    model.pattern = "moe";
    MoeConfig moe{.num_experts = 4, .experts_per_token = kChoices, .expert_size = kExpertSize};
    moe.piece_tokens = piece_tokens;
    model.sublayers["moe"].kind = moe;
    return model;
}

struct Memory {
    int64_t saved = 0; // for backward, by the micro-batch that saved most
    int64_t peak = 0;  // of all tensors, above what lived before the step
};

/// Of the first of `size` ranks that share out the experts; all of its tokens are there at once.
Memory memory_of_a_step(int64_t piece_tokens, int size = 1) {
    Memory memory;
    run_thread_ranks(size, [&](Communicator& world) {
        Allocator allocator;
        const Mesh mesh(world, {.expert = size});
        ParameterStore store(mesh.grid());
        const Model model(wide_experts(piece_tokens), store);
        store.allocate(allocator, DType::f64, true);
        store.initialize(5);
        StepRunner runner(model, store, mesh, allocator, false);
        MicroBatch batch;
        batch.document_offsets = {0, kTokens};
        batch.num_sequences = 1;
        batch.sequence_length = kTokens;
        for (int64_t t = 0; t < kTokens; ++t) {
            batch.tokens.push_back(static_cast<int32_t>(t % 11));
            batch.labels.push_back(static_cast<int32_t>((t + 1) % 11));
        }
        Recorder recorder(1, false);
        const int64_t before = allocator.statistics().used_bytes;
        allocator.reset_peaks();
        runner.run(
            1, [&](int) { return to_tensors(allocator, batch); }, {kTokens, kTokens, 1}, recorder);
        if (world.rank() == 0)
            memory = {runner.peak_saved_bytes(), allocator.statistics().peak_used_bytes - before};
    });
    return memory;
}

// A row of an expert takes 2 x 256 numbers before the activation and 256 after it, and backward as many
// gradients; the narrow rest of the model less than a tenth of that.
constexpr int64_t kRowBytes = 3 * kExpertSize * 8;

TEST(expert_memory, pieces_are_not_kept_for_backward) {
    const Memory whole = memory_of_a_step(0), pieces = memory_of_a_step(8);
    EXPECT_GT(whole.saved, kTokens * kChoices * kRowBytes);
    EXPECT_LT(pieces.saved, kTokens * kChoices * kRowBytes / 10);
}

TEST(expert_memory, the_peak_is_that_of_a_piece) {
    // 8 of 64 tokens at once: an eighth, and the rest of the model.
    const Memory whole = memory_of_a_step(0), pieces = memory_of_a_step(8);
    EXPECT_GT(whole.peak, kTokens * kChoices * kRowBytes);
    EXPECT_LT(pieces.peak, whole.peak / 8 + whole.peak / 10);
}

TEST(expert_memory, more_tokens_than_planned_cost_no_memory_beyond_their_rows) {
    // Four ranks' tokens meet at the experts of one, where a token has at most two experts: with pieces the
    // Two ranks' tokens meet at two experts each.
    const Memory alone = memory_of_a_step(8), pieces = memory_of_a_step(8, 2), whole = memory_of_a_step(0, 2);
    EXPECT_LT(pieces.peak, alone.peak * 3 / 2);
    EXPECT_GT(whole.peak, alone.peak * 3);
}

} // namespace
} // namespace braid
