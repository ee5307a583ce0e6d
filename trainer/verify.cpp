#include "trainer/verify.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "layers/layout_check.h"
#include "layers/model.h"
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

void set(NamedLayout& named, std::string_view key, std::string_view value) {
    MeshSizes& sizes = named.layout.sizes;
    const auto size = [&](int& place) {
        place = positive(key, value);
        named.num_ranks *= place;
    };
    int data = 1;
    if (key == "data") return size(data);
    if (key == "tensor") return size(sizes.tensor);
    if (key == "expert") return size(sizes.expert);
    if (key == "expert_tensor") return size(sizes.expert_tensor);
    if (key == "sequence") return void(sizes.sequence = flag(key, value));
    if (key == "zero") return void(named.layout.sharded = flag(key, value));
    if (key == "micro_batch") return void(named.layout.micro_batch = positive(key, value));
    if (key == "context" || key == "pipeline")
        throw ConfigError("--layouts: the axis '{}' is not built yet", key);
    throw ConfigError(
        "--layouts: expected an axis (data, tensor, expert, expert_tensor) or sequence, zero, "
        "micro_batch, found '{}'",
        key);
}

/// Sizes of heads at the ratio of the real ones.
void shrink_heads(int64_t& few, int64_t& many) {
    const int64_t ratio = many / few;
    few = std::min<int64_t>(few, 2);
    many = few * std::min<int64_t>(ratio, 8);
}

struct Shrink {
    void operator()(AttentionConfig& c) const {
        shrink_heads(c.num_kv_heads, c.num_heads);
        c.head_dim = 8;
        if (c.window > 0) c.window = std::min<int64_t>(c.window, 5);
        // An even number of the eight dimensions turns.
        c.rope.fraction = c.rope.fraction > 0 ? std::max(0.25, std::min(1.0, c.rope.fraction)) : 0;
    }
    void operator()(GatedDeltaNetConfig& c) const {
        shrink_heads(c.num_key_heads, c.num_value_heads);
        c.key_head_dim = 8;
        c.value_head_dim = 8;
    }
    void operator()(MlpConfig& c) const { c.size = std::min<int64_t>(c.size, 24); }
    void operator()(MoeConfig& c) const {
        c.num_experts = std::min<int64_t>(c.num_experts, 16);
        c.experts_per_token = std::min({c.experts_per_token, c.num_experts, int64_t{4}});
        c.expert_size = std::min<int64_t>(c.expert_size, 8);
        c.shared_size = std::min<int64_t>(c.shared_size, 8);
        c.piece_tokens = std::min<int64_t>(c.piece_tokens, 13); // so that there are several
    }
};

LayoutCase make_case(const VerifyRequest& request) {
    LayoutCase run;
    run.model = request.shrink ? shrunk(request.config.model) : request.config.model;
    run.optimizer = request.config.optimizer;
    run.optimizer.eps = 1e-4;
    run.seed = request.config.seed;
    run.steps = request.steps;
    // A batch that does not divide evenly, and sequences long enough for several chunks of the delta rule.
    run.global_batch = 5;
    run.sequence_length = std::min<int64_t>(request.config.train.sequence_length, 80);
    return run;
}

void expect_memory(const LayoutCase& run, int num_ranks) {
    ParameterStore store;
    const Model model(run.model, store);
    // Per rank values, gradients and moments; and every step keeps state, gradients and updates of both.
    const double bytes = static_cast<double>(store.num_elements()) * 8 *
                         (4.0 * num_ranks + 5.0 * static_cast<double>(num_ranks + run.steps * 2));
    const double machine =
        static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
    if (bytes > 0.8 * machine)
        throw ConfigError(
            "the model's {} parameters need about {:.1f} GiB to be compared on {} ranks in f64, and "
            "this machine has {:.1f}; use --shrink",
            store.num_elements(), bytes * 0x1p-30, num_ranks, machine * 0x1p-30);
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
    for (auto& [name, sublayer] : model.sublayers) std::visit(Shrink{}, sublayer.kind);
    return model;
}

std::vector<VerifyResult> verify_layouts(const VerifyRequest& request, Communicator& world,
                                         const std::function<void(const VerifyResult&)>& report) {
    const LayoutCase run = make_case(request);
    agree(world, [&] {
        for (const NamedLayout& named : request.layouts) {
            for (int rank = 0; rank < named.num_ranks; ++rank)
                expect_layout_fits(run.model, make_grid(named.layout.sizes, named.num_ranks, rank));
            if (world.size() > 1 && named.num_ranks > world.size())
                throw ConfigError("--layouts: '{}' needs {} ranks, and this job has {}", named.name,
                                  named.num_ranks, world.size());
            expect_memory(run, named.num_ranks);
        }
    });
    const std::vector<LayoutStep> reference =
        run_layout(in_pieces(run, 0), {.micro_batch = run.global_batch}, *self_communicator());
    std::vector<VerifyResult> results;
    for (const NamedLayout& named : request.layouts) {
        const std::vector<LayoutStep> steps = run_on(run, named, world, reference);
        VerifyResult result{.name = named.name, .num_ranks = named.num_ranks};
        if (!steps.empty()) result.worst = compare(steps, reference);
        if (world.rank() == 0) report(result);
        results.push_back(std::move(result));
    }
    return results;
}

} // namespace braid
