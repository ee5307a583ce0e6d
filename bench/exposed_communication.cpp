// The share of a training step that ranks spend on communication that no computation hides, for one layout of
// this job's ranks and small_bench_model() of bench_model.h. Every layout computes the same step of
// kSequences sequences; bench/exposed_communication.sh compares layouts.
//
//     braid-mpirun -n RANKS bench_exposed_communication data|tensor|expert [steps]

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>

#include "bench/bench_model.h"
#include "bench/timed_communicator.h"
#include "launch/ranks.h"
#include "optim/adamw.h"
#include "optim/gradient_norm.h"
#include "parallel/collectives.h"
#include "trainer/training/step.h"

namespace {

using namespace braid;
using namespace braid::bench;
using Clock = std::chrono::steady_clock;

constexpr int64_t kSequences = 4;

/// Empty for an axis that does not exist.
std::optional<ParallelConfig> layout(const std::string& axis, int ranks) {
    if (axis == "data") return ParallelConfig{};
    if (axis == "tensor") return ParallelConfig{.tensor = ranks};
    if (axis == "expert") return ParallelConfig{.expert = ranks};
    return {};
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

void run(MpiSession& session, const std::string& axis, int steps) {
    const int threads = set_num_threads(0, session.node_size());
    double exposed_seconds = 0;
    TimedCommunicator world(session.world(), exposed_seconds);
    Allocator allocator;
    Mesh mesh(world, *layout(axis, world.size()));
    ParameterStore store(mesh.grid());
    const Model model(small_bench_model(), store);
    store.allocate(allocator, DType::f32, true);
    store.initialize(1);
    for (const ReductionGroup& group : reduction_groups(store)) mesh.prepare(group);
    AdamW optimizer({}, store, allocator, true);
    StepRunner runner(model, store, mesh, allocator, false, {.own_share = true});
    const StepTotals totals{kSequences * kSequence, kSequences * kSequence, kSequences};
    const auto [data_ranks, data_rank] = mesh.grid().data;
    std::vector<double> seconds, shares;
    for (int step = 0; step <= steps; ++step) { // the first one fills caches and is not counted
        const Batch batch = random_batch(allocator, static_cast<uint64_t>(step * data_ranks + data_rank),
                                         kSequences / data_ranks);
        Recorder recorder(model.moe_layers().size(), false);
        barrier(world);
        exposed_seconds = 0;
        const auto start = Clock::now();
        runner.run(
            1, [&](int) { return batch; }, totals, recorder);
        recorder.reduce(world);
        double squares = gradient_sum_of_squares(store);
        all_reduce_sum(world, std::span(&squares, 1));
        const double scale = clip_factor(std::sqrt(squares), 1);
        runner.update([&](int unit) { optimizer.update(unit, step + 1, 1e-4, scale); });
        runner.await_parameters();
        if (step == 0) continue;
        seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
        shares.push_back(exposed_seconds / seconds.back());
    }
    std::vector<double> of_all = {median(shares), median(seconds)};
    all_reduce_sum(session.world(), std::span(of_all));
    if (world.rank() != 0) return;
    const double ranks = world.size();
    fmt::print("{} {} threads {} parameters {} tokens/s {:.0f} exposed_communication {:.4f}\n", axis,
               world.size(), threads, store.num_elements(),
               static_cast<double>(kSequences * kSequence) * ranks / of_all[1], of_all[0] / ranks);
}

} // namespace

int main(int argc, char** argv) {
    const std::string axis = argc > 1 ? argv[1] : "";
    if (!layout(axis, 1)) {
        fmt::print(stderr, "usage: bench_exposed_communication data|tensor|expert [steps]\n");
        return 2;
    }
    return static_cast<int>(run_as_rank([&](MpiSession& session) {
        run(session, axis, argc > 2 ? std::max(1, std::atoi(argv[2])) : 3);
        return ExitCode::ok;
    }));
}
