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

#include "bench/bench_model.h"
#include "optim/adamw.h"
#include "trainer/machine/gemm_rate.h"
#include "trainer/training/step.h"

namespace {

using namespace braid;
using namespace braid::bench;
using Clock = std::chrono::steady_clock;

void run(int steps) {
    Allocator allocator;
    ParameterStore store;
    const Model model(bench_model(), store);
    store.allocate(allocator, DType::f32, true);
    store.initialize(1);
    AdamW optimizer({}, store, allocator);
    const auto comm = self_communicator();
    const Mesh mesh(*comm, {});
    StepRunner runner(model, store, mesh, allocator, false);
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
            optimizer.update(static_cast<int>(unit), step + 1, 1e-4, 1);
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
