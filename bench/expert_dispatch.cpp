// What it costs to bring tokens to their experts and back, beside the experts themselves: one mixture of
// experts (hidden 512, 32 experts of 256 of which a token uses 4) forward and backward on 4096 tokens of each
// of this job's ranks, which share out the experts.
//
//     bench_expert_dispatch [steps]
//     braid-mpirun -n RANKS bench_expert_dispatch [steps]

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>

#include "bench/bench_model.h"
#include "launch/ranks.h"
#include "layers/feed_forward/moe_config.h"
#include "layers/model/model.h"
#include "parallel/collectives.h"
#include "parallel/mesh.h"

namespace {

using namespace braid;
using namespace braid::bench;
using Clock = std::chrono::steady_clock;

constexpr int64_t kTokens = 4096;

/// Seconds of one step, forward and backward.
struct Seconds {
    double dispatch = 0; // sending tokens, bringing results back, and what sorts and adds them
    double experts = 0;  // matrix products and activation of the experts
    double router = 0;
};

ModelConfig one_mixture() {
    ModelConfig model = bench_model();
    model.num_layers = 0;
    model.pattern = "moe";
    auto& moe = model.sublayers.at("moe").kind.get<MoeConfig>();
    moe.shared_size = 0; // nothing to compute while tokens travel: the full cost is seen
    moe.shared_gate = false;
    return model;
}

Tensor random_rows(Allocator& allocator, const char* name, int rank, int step) {
    const RngStream random(static_cast<uint64_t>(step), RngPurpose::test, fmt::format("{} {}", name, rank));
    Tensor x = Tensor::empty(allocator, {kTokens, one_mixture().hidden_size}, DType::f32);
    for (int64_t i = 0; i < x.numel(); ++i)
        x.data<float>()[i] = static_cast<float>(random.normal(static_cast<uint64_t>(i)));
    return x;
}

/// The experts' own arithmetic among what the profiler saw.
double expert_arithmetic(const Profiler& profiler) {
    double seconds = 0;
    for (const auto& event : profiler.events()) {
        const std::string_view name = event.name;
        if (name != "expert_plan" && name != "permute" && name != "combine")
            seconds += static_cast<double>(event.duration_ns) * 1e-9;
    }
    return seconds;
}

Seconds measure_step(Allocator& allocator, const Mesh& mesh, const MoeLayer& moe, int step) {
    const int rank = mesh.world().rank();
    const Tensor dy = random_rows(allocator, "dy", rank, step);
    Values values = {random_rows(allocator, "h", rank, step)};
    Profiler profiler;
    LayerContext ctx;
    ctx.allocator = &allocator;
    ctx.mesh = &mesh;
    const std::vector<Phase> phases = moe.phases();
    std::vector<Tape> tapes(phases.size());
    Seconds seconds;
    const auto time = [&](size_t i, const auto& run) {
        const bool experts = phases[i].name == "experts";
        profiler.clear();
        ctx.profiler = experts ? &profiler : nullptr;
        const auto start = Clock::now();
        run();
        const double all = std::chrono::duration<double>(Clock::now() - start).count();
        if (phases[i].name == "route") return void(seconds.router += all);
        const double arithmetic = experts ? expert_arithmetic(profiler) : 0;
        seconds.experts += arithmetic;
        seconds.dispatch += all - arithmetic;
    };
    barrier(mesh.world());
    for (size_t i = 0; i < phases.size(); ++i) {
        ctx.tape = &tapes[i];
        time(i, [&] { values = phases[i].run(ctx, values); });
    }
    Gradients gradients(allocator);
    gradients.add(values[0].ref(), dy);
    ctx.tape = nullptr;
    for (size_t i = phases.size(); i-- > 0;) time(i, [&] { tapes[i].backward(ctx, gradients); });
    return seconds;
}

void run(MpiSession& session, int steps) {
    const int threads = set_num_threads(0, session.node_size());
    Communicator& world = session.world();
    Allocator allocator;
    const Mesh mesh(world, {.expert = world.size()});
    ParameterStore store(mesh.grid());
    const Model model(one_mixture(), store);
    store.allocate(allocator, DType::f32, true);
    store.initialize(1);
    std::vector<double> shares;
    Seconds sum;
    for (int step = 0; step <= steps; ++step) { // the first one fills caches and is not counted
        const Seconds seconds = measure_step(allocator, mesh, *model.moe_layers().at(0), step);
        if (step == 0) continue;
        std::vector<double> all = {seconds.dispatch, seconds.experts, seconds.router};
        all_reduce_sum(world, std::span(all));
        shares.push_back(all[0] / all[1]);
        sum = {sum.dispatch + all[0], sum.experts + all[1], sum.router + all[2]};
    }
    if (world.rank() != 0) return;
    std::sort(shares.begin(), shares.end());
    const double each = static_cast<double>(steps) * world.size();
    fmt::print(
        "ranks {} threads {} dispatch/experts: median {:.3f}, least {:.3f}, most {:.3f}; mean seconds: "
        "dispatch "
        "{:.4f}, experts {:.4f}, router {:.4f}\n",
        world.size(), threads, shares[shares.size() / 2], shares.front(), shares.back(), sum.dispatch / each,
        sum.experts / each, sum.router / each);
}

} // namespace

int main(int argc, char** argv) {
    return static_cast<int>(run_as_rank([&](MpiSession& session) {
        run(session, argc > 1 ? std::max(1, std::atoi(argv[1])) : 10);
        return ExitCode::ok;
    }));
}
