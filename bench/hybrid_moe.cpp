// The whole training step of a hybrid mixture of experts: hidden 512, 8 layers of (3 gated DeltaNet : 1
// attention), 32 experts of which a token uses 4, sequences of 1024 tokens, f32. Reports speed as a fraction
// of what the BLAS library reaches alone in the same process, the share of each operation, and peak memory
// against what was declared.
//
//     bench_hybrid_moe [steps]

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "optim/adamw.h"
#include "trainer/gemm_rate.h"
#include "trainer/step.h"

namespace {

using namespace braid;
using Clock = std::chrono::steady_clock;

constexpr int64_t kSequence = 1024, kMicroBatch = 4, kVocabulary = 4096;

ModelConfig bench_model() {
    ModelConfig model;
    model.vocab_size = kVocabulary;
    model.hidden_size = 512;
    model.num_layers = 8;
    model.pattern = "(gdn+moe)*3, attn+moe";
    model.norm.zero_centered = true;
    model.sublayers["gdn"].kind = GatedDeltaNetConfig{
        .num_key_heads = 4, .num_value_heads = 8, .key_head_dim = 64, .value_head_dim = 64, .conv_kernel = 4};
    AttentionConfig attention{.num_heads = 8, .num_kv_heads = 2, .head_dim = 64};
    attention.qk_norm = QkNorm::per_head;
    attention.gate = AttentionGate::elementwise;
    attention.rope.fraction = 0.25;
    model.sublayers["attn"].kind = attention;
    MoeConfig moe{.num_experts = 32,
                  .experts_per_token = 4,
                  .expert_size = 256,
                  .shared_size = 256,
                  .shared_gate = true};
    moe.router.aux_loss = 1e-3;
    model.sublayers["moe"].kind = moe;
    return model;
}

/// Random tokens in documents of 100 to 1124 tokens, cut at the ends of sequences.
Batch random_batch(Allocator& allocator, uint64_t seed) {
    const RngStream random(seed, RngPurpose::test, "bench");
    MicroBatch batch;
    batch.document_offsets = {0};
    batch.num_sequences = kMicroBatch;
    batch.sequence_length = kSequence;
    int64_t left = 0;
    for (int64_t t = 0; t < kMicroBatch * kSequence; ++t) {
        const auto at = static_cast<uint64_t>(t);
        if (left == 0) left = 100 + static_cast<int64_t>(random.bits(at, 1) % 1024);
        batch.tokens.push_back(static_cast<int32_t>(random.bits(at) % kVocabulary));
        batch.labels.push_back(static_cast<int32_t>(random.bits(at + 1) % kVocabulary));
        if (--left == 0 || (t + 1) % kSequence == 0) {
            batch.document_offsets.push_back(static_cast<int32_t>(t + 1));
            left = 0;
        }
    }
    return to_tensors(allocator, batch);
}

void run(int steps) {
    Allocator allocator;
    ParameterStore store;
    const Model model(bench_model(), store);
    store.allocate(allocator, DType::f32, true);
    store.initialize(1);
    AdamW optimizer({}, store, allocator);
    const auto comm = self_communicator();
    StepRunner runner(model, store, *comm, allocator, false);
    const int64_t state_bytes = allocator.statistics().used_bytes;
    const StepTotals totals{kMicroBatch * kSequence, kMicroBatch * kSequence, kMicroBatch};
    Profiler profiler;
    std::vector<double> seconds, rates;
    double flops = 0;
    for (int step = 0; step <= steps; ++step) { // the first one fills caches and is not counted
        const Batch batch = random_batch(allocator, static_cast<uint64_t>(step));
        flops = 3 * model.forward_flops(*batch.documents);
        rates.push_back(measure_gemm_rate(DType::f32));
        allocator.reset_peaks();
        const auto start = Clock::now();
        Recorder recorder(model.moe_layers().size(), false);
        runner.run(
            1, [&](int) { return batch; }, totals, recorder, step > 0 ? &profiler : nullptr);
        for (size_t unit = 0; unit < store.units().size(); ++unit)
            optimizer.update(static_cast<int>(unit), 0, store.units()[unit]->numel, step + 1, 1e-4, 1);
        if (step > 0) seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
    std::sort(seconds.begin(), seconds.end());
    std::sort(rates.begin(), rates.end());
    const double median = seconds[seconds.size() / 2], rate = rates[rates.size() / 2];
    const int64_t peak = allocator.statistics().peak_used_bytes,
                  declared = state_bytes + runner.peak_saved_bytes();
    fmt::print("parameters {} (active {})\n", model.num_parameters(), model.num_active_parameters());
    fmt::print("tokens/s {:.0f}\n", kMicroBatch * kSequence / median);
    fmt::print("model GFLOP/s {:.1f}, BLAS alone {:.1f}, fraction {:.3f}\n", flops / median * 1e-9,
               rate * 1e-9, flops / median / rate);
    fmt::print("step seconds: least {:.3f}, median {:.3f}, most {:.3f}\n", seconds.front(), median,
               seconds.back());
    fmt::print(
        "peak memory {:.1f} MiB; parameters, gradients and moments {:.1f} MiB, saved for backward {:.1f} "
        "MiB; peak / "
        "declared {:.3f}\n\n",
        static_cast<double>(peak) * 0x1p-20, static_cast<double>(state_bytes) * 0x1p-20,
        static_cast<double>(runner.peak_saved_bytes()) * 0x1p-20,
        static_cast<double>(peak) / static_cast<double>(declared));
    fmt::print("{}", profiler.table());
}

} // namespace

int main(int argc, char** argv) {
    run(argc > 1 ? std::max(1, std::atoi(argv[1])) : 5);
    return 0;
}
