#include "trainer/verify/verify.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "base/schema.h"
#include "base/yaml_document.h"
#include "layers/model/model.h"
#include "layers/specification/nearest_layouts.h"
#include "layers/specification/sublayer_type.h"
#include "parallel/agreement.h"
#include "parallel/parallel_schema.h"
#include "parallel/thread_comm.h"

namespace braid {
namespace {

constexpr int kMostLayoutRanks = 64;

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

/// What a layout says beside how ranks share out the work.
const Schema<Layout>& layout_schema() {
    static const Schema<Layout> schema = Schema<Layout>().key("micro_batch", &Layout::micro_batch,
                                                              {.help = "sequences that a rank runs at once",
                                                               .min = 1,
                                                               .max = kMostLayoutRanks,
                                                               .changes_numbers = false});
    return schema;
}

template <typename S>
void read(const Schema<S>& schema, const YamlNode& given, S& target) {
    ReadLog log;
    schema.read(given, "", target, log);
    SchemaDocs docs;
    schema.describe("", docs);
    const std::string faults = log.fault_lines(docs, given);
    if (faults.empty()) return;
    std::vector<std::string_view> axes;
    for (const AxisRow& row : kAxes)
        if (row.key) axes.push_back(row.name);
    throw ConfigError("{}{}", faults,
                      log.unknown.empty()
                          ? ""
                          : fmt::format("\nexpected an axis ({}), sequence, zero, reduction or micro_batch",
                                        fmt::join(axes, ", ")));
}

Layout parse_layout(std::string_view text) {
    Layout layout{.name = std::string(text)};
    const Location place{std::make_shared<const std::string>(fmt::format("--layouts: '{}'", text)), 0, 0};
    YamlNode parallel = YamlNode::map(), own = YamlNode::map();
    for_each_part(text, ',', [&](std::string_view item) {
        const size_t equals = item.find('=');
        if (equals == std::string_view::npos)
            throw ConfigError("{}: expected AXIS=SIZE, found '{}'", place.text(), item);
        const std::string key(trimmed(item.substr(0, equals)));
        if (key == "watchdog_seconds") throw ConfigError("{}: {} is of no layout", place.text(), key);
        YamlNode value = parse_yaml(trimmed(item.substr(equals + 1)), place.text());
        relocate(value, place);
        YamlNode& map = key == "micro_batch" ? own : parallel;
        if (map.find(key)) throw ConfigError("{}: {} is there twice", place.text(), key);
        map.add(key, std::move(value));
        map.entries.back().location = place;
    });
    read(layout_schema(), own, layout);
    read(parallel_schema(), parallel, layout.parallel);
    return layout;
}

/// The product of the axes: data ranks are those of each place in both views.
int64_t num_ranks_of(const ParallelConfig& parallel) {
    return std::max<int64_t>(parallel.data, 1) * asked_ranks(parallel, false) * asked_ranks(parallel, true);
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

std::vector<LayoutStep> run_on(const LayoutCase& run, const Layout& layout, Communicator& world,
                               const std::vector<LayoutStep>& reference) {
    const auto num_ranks = static_cast<int>(num_ranks_of(layout.parallel));
    std::vector<LayoutStep> result;
    if (world.size() == 1) {
        run_thread_ranks(num_ranks, [&](Communicator& ranks) {
            auto steps = run_layout(run, layout, ranks, &reference);
            if (ranks.rank() == 0) result = std::move(steps);
        });
        return result;
    }
    const bool takes_part = world.rank() < num_ranks;
    const auto ranks = world.split(takes_part ? 0 : 1, world.rank(), "verify");
    return takes_part ? run_layout(run, layout, *ranks, &reference) : result;
}

/// As --layouts takes it.
std::string to_option(const ParallelConfig& layout, int num_ranks) {
    std::string text;
    const auto add = [&](std::string_view axis, int64_t size) {
        if (size > 1) text += fmt::format("{}{}={}", text.empty() ? "" : ",", axis, size);
    };
    for (const AxisRow& row : kAxes)
        if (!row.is_rest) add(row.name, layout.*row.key);
    add("data", num_ranks / (asked_ranks(layout, false) * asked_ranks(layout, true)));
    return text.empty() ? "data=1" : text;
}

/// num_processes is 1 where ranks are threads.
void expect_fits(const LayoutCase& run, const Layout& layout, int num_processes) {
    const LayoutRules rules(run.model);
    const auto num_ranks = static_cast<int>(num_ranks_of(layout.parallel));
    try {
        if (num_processes == 1 && num_ranks > 1 && run.compute.device().kind == DeviceKind::cuda)
            throw ConfigError("on GPUs each rank is a process of its own: start this with braid-mpirun -n {}",
                              num_ranks);
        if (num_processes > 1 && num_ranks > num_processes)
            throw ConfigError("it needs {} ranks, and this job has {}", num_ranks, num_processes);
        rules.expect_fits(make_grid(layout.parallel, num_ranks, 0));
    } catch (const ConfigError& error) {
        const int most = num_processes > 1 ? std::min(num_ranks, num_processes) : num_ranks;
        const auto is_product = [](const RankGrid& grid) { // as --layouts can say it
            return grid.expert_data.size % grid.tensor.size == 0;
        };
        throw ConfigError("--layouts: '{}': {}{}", layout.name, error.what(),
                          nearest_layouts(rules, is_product, layout.parallel, most).to_text(to_option));
    }
    expect_memory(run, num_ranks);
}

} // namespace

std::vector<Layout> parse_layouts(std::string_view text) {
    std::vector<Layout> layouts;
    for_each_part(text, ';', [&](std::string_view part) {
        if (part.empty()) return;
        layouts.push_back(parse_layout(part));
        if (const int64_t ranks = num_ranks_of(layouts.back().parallel); ranks > kMostLayoutRanks)
            throw ConfigError("--layouts: '{}' needs {} ranks, at most {}", part, ranks, kMostLayoutRanks);
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
        for (const Layout& layout : request.layouts) expect_fits(run, layout, world.size());
    });
    const ReferenceRuns reference = run_reference(in_pieces(run, 0));
    if (world.rank() == 0) report.reference(reference.summary);
    std::vector<VerifyResult> results;
    for (const Layout& layout : request.layouts) {
        const std::vector<LayoutStep> steps = run_on(run, layout, world, reference.start);
        VerifyResult result{.name = layout.name,
                            .num_ranks = static_cast<int>(num_ranks_of(layout.parallel)),
                            .bound = reference.summary.bound};
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
