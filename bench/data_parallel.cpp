// The training step of the model of bench_model.h on this job's ranks, each with one micro-batch of its own
// (weak scaling). Prints the tokens per second of all ranks in the median step; bench/data_parallel.sh
// compares numbers of ranks.
//
//     braid-mpirun -n RANKS bench_data_parallel [steps]

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>

#include "bench/bench_model.h"
#include "launch/ranks.h"
#include "optim/adamw.h"
#include "optim/gradient_norm.h"
#include "parallel/collectives.h"
#include "trainer/training/step.h"

namespace {

using namespace braid;
using namespace braid::bench;
using Clock = std::chrono::steady_clock;

void run(MpiSession& session, int steps) {
    const int threads = set_num_threads(0, session.node_size());
    Communicator& world = session.world();
    Allocator allocator;
    const Mesh mesh(world, {});
    ParameterStore store(mesh.grid());
    const Model model(bench_model(), store);
    store.allocate(allocator, DType::f32, true);
    store.initialize(1);
    AdamW optimizer({}, store, allocator, true);
    StepRunner runner(model, store, mesh, allocator, false, {.own_share = true});
    const int64_t tokens = kMicroBatch * kSequence * world.size();
    const StepTotals totals{tokens, tokens, kMicroBatch * world.size()};
    std::vector<double> seconds, exposed;
    for (int step = 0; step <= steps; ++step) { // the first one fills caches and is not counted
        const Batch batch =
            random_batch(allocator, static_cast<uint64_t>(step * world.size() + world.rank()));
        Recorder recorder(model.moe_layers().size(), false);
        barrier(world);
        const auto start = Clock::now();
        runner.run(
            1, [&](int) { return batch; }, totals, recorder);
        recorder.reduce(world);
        double squares = gradient_sum_of_squares(store);
        all_reduce_sum(world, std::span(&squares, 1));
        const double scale = clip_factor(std::sqrt(squares), 1);
        runner.update([&](int unit) { optimizer.update(unit, step + 1, 1e-4, scale); });
        barrier(world);
        if (step == steps) runner.await_parameters(); // others wait for theirs
        const double hidden_by_nothing = runner.take_exposed_communication_seconds();
        if (step == 0) continue;
        seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
        exposed.push_back(hidden_by_nothing);
    }
    if (world.rank() != 0) return;
    const auto median = [](std::vector<double>& values) {
        std::sort(values.begin(), values.end());
        return values[values.size() / 2];
    };
    const double step_seconds = median(seconds);
    fmt::print("ranks {} threads {} tokens/s {:.1f} exposed_communication {:.4f}\n", world.size(), threads,
               static_cast<double>(tokens) / step_seconds, median(exposed) / step_seconds);
}

} // namespace

int main(int argc, char** argv) {
    return static_cast<int>(run_as_rank([&](MpiSession& session) {
        run(session, argc > 1 ? std::max(1, std::atoi(argv[1])) : 2);
        return ExitCode::ok;
    }));
}
