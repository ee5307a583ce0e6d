#include "trainer/verify/verify.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/suggest.h"
#include "layers/model/model.h"
#include "layers/specification/nearest_layouts.h"
#include "layers/specification/sublayer_type.h"
#include "parallel/agreement.h"
#include "parallel/thread_comm.h"

namespace braid {
namespace {

constexpr int kMostRanks = 64;

std::string_view trimmed(std::string_view text) {
    const size_t first = text.find_first_not_of(" \t\n");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

/// Calls body(part) for the parts between separators.
template <typename Body>
void for_each_part(std::string_view text, char separator, const Body& body) {
    while (true) {
        const size_t end = text.find(separator);
        body(trimmed(text.substr(0, end)));
        if (end == std::string_view::npos) return;
        text.remove_prefix(end + 1);
    }
}

int positive(std::string_view key, std::string_view value) {
    int number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || number < 1 || number > kMostRanks)
        throw ConfigError("--layouts: {}: expected a whole number from 1 to {}, found '{}'", key, kMostRanks,
                          value);
    return number;
}

bool flag(std::string_view key, std::string_view value) {
    if (value == "true" || value == "1") return true;
    if (value == "false" || value == "0") return false;
    throw ConfigError("--layouts: {}: expected true or false, found '{}'", key, value);
}

Reduction reduction(std::string_view value) {
    if (value == "ordered") return Reduction::ordered;
    if (value == "library") return Reduction::library;
    throw ConfigError("--layouts: reduction: expected ordered or library, found '{}'", value);
}

void set(NamedLayout& named, std::string_view key, std::string_view value) {
    MeshSizes& sizes = named.layout.sizes;
    const auto size = [&](int& place) {
        place = positive(key, value);
        named.num_ranks *= place;
    };
    int data = 1;
    for (const AxisRow& row : kAxes)
        if (row.key && key == row.name) return size(row.size ? sizes.*row.size : data);
    if (key == "sequence") return void(sizes.sequence = flag(key, value));
    if (key == "zero") return void(named.layout.sharded = flag(key, value));
    if (key == "micro_batch") return void(named.layout.micro_batch = positive(key, value));
    if (key == "reduction") return void(named.layout.reduction = reduction(value));
    if (key == "context" || key == "pipeline")
        throw ConfigError("--layouts: the axis '{}' is not built yet", key);
    std::vector<std::string> axes, known;
    for (const AxisRow& row : kAxes)
        if (row.key) axes.emplace_back(row.name);
    known = axes;
    known.insert(known.end(), {"sequence", "zero", "micro_batch", "reduction"});
    throw ConfigError(
        "--layouts: expected an axis ({}) or sequence, zero, micro_batch, reduction, found '{}'{}",
        fmt::join(axes, ", "), key, did_you_mean(key, known));
}

LayoutCase make_case(const VerifyRequest& request) {
    LayoutCase run;
    run.model = request.shrink ? shrunk(request.config.model) : request.config.model;
    run.optimizer = request.config.optimizer;
    run.reported_eps = run.optimizer.eps;
    run.optimizer.eps = 1e-4;
    run.freeze = request.config.train.freeze; // what shrinking takes away matches nothing
    run.seed = request.config.seed;
    run.steps = request.steps;
    run.precision = request.precision;
    run.compute = request.compute;
    run.replay_routing = request.precision != DType::f64;
    // A batch that does not divide evenly, and sequences long enough for several chunks of the delta rule.
    run.global_batch = 5;
    run.sequence_length = std::min<int64_t>(request.config.train.sequence_length, 80);
    return run;
}

void expect_memory(const LayoutCase& run, int num_ranks) {
    ParameterStore store;
    const Model model(run.model, store);
    // Per rank values, gradients and the moments of two optimizers; each step of each rank and of the runs it
    // is compared with keeps state, gradients and two kinds of updates as double.
    const double runs = num_ranks + (run.precision == DType::f64 ? 1 : 3);
    const double bytes = static_cast<double>(store.num_elements()) *
                         (6.0 * num_ranks * static_cast<double>(size_of(run.precision)) +
                          6.0 * runs * static_cast<double>(run.steps) * sizeof(double));
    const double machine =
        static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
    if (bytes > 0.8 * machine)
        throw ConfigError(
            "the model's {} parameters need about {:.1f} GiB to be compared on {} ranks, and this machine "
            "has {:.1f}; use --shrink",
            store.num_elements(), bytes * 0x1p-30, num_ranks, machine * 0x1p-30);
}

/// The number of terms in the longest sum of a step: over the tokens of the batch, or over a dimension of a
/// parameter (features, words, experts).
int64_t longest_sum(const LayoutCase& run) {
    ParameterStore store;
    const Model model(run.model, store);
    int64_t longest = run.global_batch * run.sequence_length;
    for (const PlacedSection& section : store.sections())
        for (const int64_t size : section->spec.shape.dims()) longest = std::max(longest, size);
    return longest;
}

/// The runs on one rank that layouts start from and are compared with.
struct ReferenceRuns {
    std::vector<LayoutStep> start; // gives each step's state and, in f32, the tokens' experts
    std::vector<LayoutStep> exact; // in f64
    VerifyReference summary;

    /// Of layouts, where they are coarser than the exact run.
    double unit_roundoff() const { return summary.precision == DType::f32 ? 0x1p-24 : 0; }
};

ReferenceRuns run_reference(const LayoutCase& run) {
    const auto alone = [&](DType precision, int64_t micro_batch, const std::vector<LayoutStep>* start) {
        LayoutCase changed = run;
        changed.precision = precision;
        return run_layout(changed, {.micro_batch = micro_batch}, *self_communicator(), start);
    };
    ReferenceRuns runs;
    runs.summary.precision = run.precision;
    runs.summary.reported_eps = *run.reported_eps;
    runs.start = alone(run.precision, run.global_batch, nullptr);
    if (run.precision == DType::f64) {
        runs.exact = runs.start;
        return runs;
    }
    runs.exact = alone(DType::f64, run.global_batch, &runs.start);
    const LayoutDifference whole = compare(runs.start, runs.exact, runs.unit_roundoff());
    const LayoutDifference single =
        compare(alone(run.precision, 1, &runs.start), runs.exact, runs.unit_roundoff());
    runs.summary.one_rank = single.error > whole.error ? single : whole;
    runs.summary.longest_sum = longest_sum(run);
    runs.summary.bound =
        runs.summary.one_rank.error * std::sqrt(static_cast<double>(runs.summary.longest_sum));
    return runs;
}

std::vector<LayoutStep> run_on(const LayoutCase& run, const NamedLayout& named, Communicator& world,
                               const std::vector<LayoutStep>& reference) {
    std::vector<LayoutStep> result;
    if (world.size() == 1) {
        run_thread_ranks(named.num_ranks, [&](Communicator& ranks) {
            auto steps = run_layout(run, named.layout, ranks, &reference);
            if (ranks.rank() == 0) result = std::move(steps);
        });
        return result;
    }
    const bool takes_part = world.rank() < named.num_ranks;
    const auto ranks = world.split(takes_part ? 0 : 1, world.rank(), "verify");
    return takes_part ? run_layout(run, named.layout, *ranks, &reference) : result;
}

/// As --layouts takes it.
std::string to_text(const MeshSizes& sizes, int num_ranks) {
    std::string text;
    const auto add = [&](std::string_view axis, int64_t size) {
        if (size > 1) text += fmt::format("{}{}={}", text.empty() ? "" : ",", axis, size);
    };
    for (const AxisRow& row : kAxes)
        if (row.size) add(row.name, sizes.*row.size);
    add("data", num_ranks / (asked_ranks(sizes, false) * asked_ranks(sizes, true)));
    return text.empty() ? "data=1" : text;
}

/// num_processes is 1 where ranks are threads.
void expect_fits(const LayoutCase& run, const NamedLayout& named, int num_processes) {
    const LayoutRules rules(run.model);
    const MeshSizes& asked = named.layout.sizes;
    try {
        if (num_processes == 1 && named.num_ranks > 1 && run.compute.device().kind == DeviceKind::cuda)
            throw ConfigError("on GPUs each rank is a process of its own: start this with braid-mpirun -n {}",
                              named.num_ranks);
        if (num_processes > 1 && named.num_ranks > num_processes)
            throw ConfigError("it needs {} ranks, and this job has {}", named.num_ranks, num_processes);
        rules.expect_fits(make_grid(asked, named.num_ranks, 0));
    } catch (const ConfigError& error) {
        const int most = num_processes > 1 ? std::min(named.num_ranks, num_processes) : named.num_ranks;
        const auto is_product = [](const RankGrid& grid) { // as --layouts can say it
            return grid.expert_data.size % grid.tensor.size == 0;
        };
        throw ConfigError("--layouts: '{}': {}{}", named.name, error.what(),
                          nearest_layouts(rules, is_product, asked, most).to_text(to_text));
    }
    expect_memory(run, named.num_ranks);
}

} // namespace

std::vector<NamedLayout> parse_layouts(std::string_view text) {
    std::vector<NamedLayout> layouts;
    for_each_part(text, ';', [&](std::string_view part) {
        if (part.empty()) return;
        NamedLayout named{.name = std::string(part)};
        for_each_part(part, ',', [&](std::string_view item) {
            const size_t equals = item.find('=');
            if (equals == std::string_view::npos)
                throw ConfigError("--layouts: expected AXIS=SIZE, found '{}'", item);
            set(named, trimmed(item.substr(0, equals)), trimmed(item.substr(equals + 1)));
        });
        if (named.num_ranks > kMostRanks)
            throw ConfigError("--layouts: '{}' needs {} ranks, at most {}", part, named.num_ranks,
                              kMostRanks);
        layouts.push_back(std::move(named));
    });
    if (layouts.empty()) throw ConfigError("--layouts: expected at least one layout, such as \"tensor=2\"");
    return layouts;
}

ModelConfig shrunk(ModelConfig model) {
    model.vocab_size = std::min<int64_t>(model.vocab_size, 61); // odd, so that words do not divide evenly
    model.hidden_size = std::min<int64_t>(model.hidden_size, 16);
    if (model.layers.empty() && model.pattern_head.empty() && model.pattern_tail.empty())
        model.num_layers = 0;
    for (auto& [name, sublayer] : model.sublayers) type_of(sublayer).shrink(sublayer.kind);
    return model;
}

std::vector<VerifyResult> verify_layouts(const VerifyRequest& request, Communicator& world,
                                         const VerifyReport& report) {
    const LayoutCase run = make_case(request);
    agree(world, [&] {
        for (const NamedLayout& named : request.layouts) expect_fits(run, named, world.size());
    });
    const ReferenceRuns reference = run_reference(in_pieces(run, 0));
    if (world.rank() == 0) report.reference(reference.summary);
    std::vector<VerifyResult> results;
    for (const NamedLayout& named : request.layouts) {
        const std::vector<LayoutStep> steps = run_on(run, named, world, reference.start);
        VerifyResult result{
            .name = named.name, .num_ranks = named.num_ranks, .bound = reference.summary.bound};
        if (!steps.empty()) result.worst = compare(steps, reference.exact, reference.unit_roundoff());
        for (const LayoutStep& step : steps) {
            result.num_choices += step.num_choices;
            result.num_flips += step.num_flips;
        }
        if (world.rank() == 0) report.result(result);
        results.push_back(std::move(result));
    }
    return results;
}

} // namespace braid
