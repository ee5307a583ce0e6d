#include <cmath>
#include <map>

#include "base/glob.h"
#include "optim/adamw.h"
#include "optim/gradient_norm.h"
#include "optim/lr_schedule.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

/// Two units; the second has a parameter of two sections, and sizes that leave alignment gaps.
struct SmallStore {
    TestContext t;
    ParameterStore store;

    explicit SmallStore(DType dtype = DType::f64, const RankGrid& grid = {}, Device device = {})
        : t(device), store(grid) {
        const Initializer normal{Initializer::Kind::normal, 1};
        store.begin_unit("embedding");
        store.declare(ParameterSpec{"embedding.weight", {5, 3}, ParameterRole::embedding, 3, normal, "", -1});
        store.begin_unit("layers.0");
        store.declare({{"layers.0.attn.q.weight", {2, 3}, ParameterRole::matrix, 3, normal, "attn", 0},
                       {"layers.0.attn.k.weight", {1, 3}, ParameterRole::matrix, 3, normal, "attn", 0}});
        store.declare(
            ParameterSpec{"layers.0.attn.pre_norm.weight", {7}, ParameterRole::norm, 7, normal, "attn", 0});
        store.allocate(*t.ctx.allocator, dtype, true);
        store.initialize(3);
    }

    void set_gradients(int step) {
        for (const auto& unit : store.units())
            for (const Parameter* parameter : unit->parameters)
                dispatch_float(store.dtype(), [&]<typename T>() {
                    const Tensor made =
                        Tensor::empty(t.allocator, parameter->gradient().shape(), store.dtype());
                    for (T& g : made.span<T>())
                        g = static_cast<T>(std::sin(step + 7 * static_cast<double>(&g - made.data<T>())));
                    copy(made, parameter->gradient());
                });
    }
};

/// `bound` is relative to one more than an element's size.
void check_adamw(DType dtype, double bound) {
    SmallStore s(dtype, {}, test_device());
    OptimizerConfig config{.lr = 0.01, .betas = {0.9, 0.95}, .eps = 1e-3, .weight_decay = 0.1};
    config.groups = {{.role = {ParameterRole::matrix}, .lr_scale = 0.5}};
    AdamW optimizer(config, s.store, *s.t.ctx.allocator);
    struct Element {
        double p, m = 0, v = 0;
    };
    std::map<std::string, std::vector<Element>> expected;
    const auto for_each_section = [&](auto&& body) {
        for (const auto& unit : s.store.units()) {
            const auto values = to_vector(to_device(s.t.allocator, unit->values)),
                       gradients = to_vector(to_device(s.t.allocator, unit->gradients));
            for (const Parameter* parameter : unit->parameters)
                for (const auto& section : parameter->sections())
                    body(section.spec, values.data() + section.unit_offset,
                         gradients.data() + section.unit_offset);
        }
    };
    for_each_section([&](const ParameterSpec& spec, const double* p, const double*) {
        for (int64_t i = 0; i < spec.shape.numel(); ++i) expected[spec.name].push_back({p[i]});
    });
    for (int step = 1; step <= 4; ++step) {
        s.set_gradients(step);
        const double clip = step == 2 ? 0.25 : 1;
        for_each_section([&](const ParameterSpec& spec, const double*, const double* g) {
            const double lr = spec.role == ParameterRole::matrix ? 0.005 : 0.01;
            const double decay = spec.role == ParameterRole::norm ? 0 : 0.1;
            for (size_t i = 0; i < expected[spec.name].size(); ++i) {
                Element& e = expected[spec.name][i];
                e.m = 0.9 * e.m + 0.1 * clip * g[i];
                e.v = 0.95 * e.v + 0.05 * clip * g[i] * clip * g[i];
                const double m = e.m / (1 - std::pow(0.9, step)), v = e.v / (1 - std::pow(0.95, step));
                e.p -= lr * (m / (std::sqrt(v) + 1e-3) + decay * e.p);
            }
        });
        for (int unit = 0; unit < 2; ++unit) optimizer.update(unit, step, 0.01, clip);
    }
    for_each_section([&](const ParameterSpec& spec, const double* p, const double*) {
        for (size_t i = 0; i < expected[spec.name].size(); ++i)
            EXPECT_NEAR(p[i], expected[spec.name][i].p, bound * (1 + std::abs(p[i])))
                << spec.name << " " << i << " in " << name_of(dtype);
    });
}

// Four steps, each of less than twenty roundings of numbers that are no larger: 80 units of 2^-53 or 2^-24.
TEST(adamw, equals_the_formula) {
    check_adamw(DType::f64, 80 * 0x1p-53);
    check_adamw(DType::f32, 80 * 0x1p-24);
}

TEST(adamw, owners_of_shares_make_the_same_update) {
    SmallStore whole;
    AdamW optimizer({}, whole.store, whole.t.allocator);
    constexpr int kRanks = 3;
    for (int step = 1; step <= 2; ++step) {
        whole.set_gradients(step);
        for (int unit = 0; unit < 2; ++unit) optimizer.update(unit, step, 0.01, 1);
    }
    for (int unit = 0; unit < 2; ++unit) {
        int64_t owned = 0;
        for (int rank = 0; rank < kRanks; ++rank) {
            SmallStore share(DType::f64, {.data = {kRanks, rank}});
            AdamW owner({}, share.store, share.t.allocator, true);
            for (int step = 1; step <= 2; ++step) {
                share.set_gradients(step);
                owner.update(unit, step, 0.01, 1);
            }
            const FlatRange range = share.store.owned_range(share.store.unit(unit).buckets[0]);
            const int64_t count = range.last - range.first;
            expect_identical(share.store.unit(unit).values.rows(range.first, count),
                             whole.store.unit(unit).values.rows(range.first, count), "values");
            owned += count;
        }
        EXPECT_EQ(owned, whole.store.unit(unit).numel);
    }
}

TEST(adamw, state_that_begins_late_is_corrected_from_its_own_start) {
    for (const bool sharded : {false, true}) {
        SmallStore s, from_start;
        const OptimizerConfig config{.lr = 0.01, .weight_decay = 0.1};
        AdamW optimizer(config, s.store, s.t.allocator, sharded),
            reference(config, from_start.store, from_start.t.allocator, sharded);
        optimizer.count_from({{"layers.0.attn.k.weight", 40}, {"embedding.weight", 38}, {"elsewhere", 3}});
        // Steps 41 and 42 of one are 1 and 2 of the other, or 3 and 4.
        for (int step = 1; step <= 2; ++step) {
            s.set_gradients(step);
            from_start.set_gradients(step);
            for (int unit = 0; unit < 2; ++unit)
                optimizer.update(unit, 40 + step, 0.01, 1), reference.update(unit, step, 0.01, 1);
        }
        for (size_t u = 0; u < 2; ++u)
            for (const Parameter* parameter : s.store.units()[u]->parameters)
                for (const auto& section : parameter->sections()) {
                    const double* ours = s.store.units()[u]->values.data<double>() + section.unit_offset;
                    const double* theirs =
                        from_start.store.units()[u]->values.data<double>() + section.unit_offset;
                    for (int64_t i = 0; i < section.numel(); ++i)
                        EXPECT_EQ(ours[i] == theirs[i], section.spec.name == "layers.0.attn.k.weight")
                            << section.spec.name << " " << i;
                }
    }
}

TEST(adamw, state_is_visited_by_unit) {
    SmallStore s;
    AdamW optimizer({}, s.store, s.t.allocator);
    std::vector<std::string> seen;
    optimizer.visit_state(
        [&](const std::string& name, int unit, const FlatRange& range, const Tensor& state) {
            EXPECT_EQ(range, (FlatRange{0, s.store.unit(unit).numel}));
            EXPECT_EQ(state.numel(), s.store.unit(unit).numel);
            seen.push_back(name + std::to_string(unit));
        });
    EXPECT_EQ(seen, (std::vector<std::string>{"exp_avg0", "exp_avg_sq0", "exp_avg1", "exp_avg_sq1"}));
}

TEST(adamw, what_is_frozen_stays_and_has_no_state) {
    for (const bool sharded : {false, true}) {
        SmallStore s, all;
        EXPECT_EQ(s.store.freeze(std::vector<std::string>{"*.k.weight", "embedding.*", "nothing", "*.k.*"}),
                  std::vector<std::string>{"nothing"});
        const OptimizerConfig config{.lr = 0.01, .weight_decay = 0.1};
        AdamW optimizer(config, s.store, s.t.allocator, sharded),
            whole(config, all.store, all.t.allocator, sharded);
        EXPECT_EQ(num_state_elements(config, s.store), 2 * (6 + 7));
        const SmallStore before;
        for (int step = 1; step <= 2; ++step) {
            s.set_gradients(step);
            all.set_gradients(step);
            s.store.zero_frozen_gradients();
            for (int unit = 0; unit < 2; ++unit)
                optimizer.update(unit, step, 0.01, 1), whole.update(unit, step, 0.01, 1);
        }
        optimizer.visit_state([&](const std::string&, int unit, const FlatRange& range, const Tensor&) {
            for (const Parameter* parameter : s.store.units()[static_cast<size_t>(unit)]->parameters)
                for (const auto& section : parameter->sections())
                    EXPECT_FALSE(section.spec.frozen && range.first < section.unit_offset + section.numel() &&
                                 section.unit_offset < range.last)
                        << section.spec.name;
        });
        EXPECT_TRUE(optimizer.states(0, 0).empty());
        EXPECT_TRUE(optimizer.states(1, 1).empty());
        EXPECT_EQ(optimizer.states(1, 0).size(), 2u);
        for (size_t u = 0; u < 2; ++u)
            for (const Parameter* parameter : s.store.units()[u]->parameters)
                for (const auto& section : parameter->sections())
                    for (int64_t i = section.unit_offset; i < section.unit_offset + section.numel(); ++i) {
                        const auto at = [&](const SmallStore& of) {
                            return of.store.units()[u]->values.data<double>()[i];
                        };
                        EXPECT_EQ(at(s), section.spec.frozen ? at(before) : at(all)) << section.spec.name;
                        EXPECT_NE(at(all), at(before));
                        if (section.spec.frozen) {
                            EXPECT_EQ(s.store.units()[u]->gradients.data<double>()[i], 0);
                        }
                    }
    }
}

TEST(groups, later_ones_win_and_selectors_are_anded) {
    SmallStore s;
    OptimizerConfig config{.weight_decay = 0.1};
    config.groups = {{.role = {ParameterRole::norm}, .weight_decay = 0.5},
                     {.sublayer = {"attn"}, .layer = {0}, .name = {"*.k.weight"}, .lr_scale = 3},
                     {.name = {"layers.?.attn.*"}, .lr_scale = 2}};
    const auto units = resolve_groups(config, s.store);
    EXPECT_EQ(units[0][0].weight_decay, 0.1);
    EXPECT_EQ(units[0][0].lr_scale, 1);
    EXPECT_EQ(units[1][0].lr_scale, 2);
    EXPECT_EQ(units[1][1].lr_scale, 2) << "the last group wins";
    EXPECT_EQ(units[1][2].weight_decay, 0.5);
    config.groups.push_back({.role = {ParameterRole::matrix}, .layer = {1}});
    try {
        resolve_groups(config, s.store);
        FAIL() << "no exception";
    } catch (const Error& error) {
        EXPECT_EQ(error.exit_code(), ExitCode::usage);
        EXPECT_NE(std::string(error.what()).find("optimizer.groups[3]"), std::string::npos) << error.what();
    }
}

TEST(groups, all_that_match_nothing_are_named) {
    SmallStore s;
    OptimizerConfig config;
    config.groups = {{.layer = {7}, .lr_scale = 1},
                     {.role = {ParameterRole::norm}, .lr_scale = 1},
                     {.name = {"nothing*"}, .lr_scale = 1}};
    const std::vector<std::string> faults = group_faults(config, s.store);
    ASSERT_EQ(faults.size(), 2u);
    EXPECT_EQ(faults[0].rfind("optimizer.groups[0]: matches no parameter", 0), 0u) << faults[0];
    EXPECT_EQ(faults[1].rfind("optimizer.groups[2]: matches no parameter", 0), 0u) << faults[1];
}

TEST(groups, globs) {
    EXPECT_TRUE(matches_glob("*", ""));
    EXPECT_TRUE(matches_glob("layers.*.q.*", "layers.12.attn.q.weight"));
    EXPECT_TRUE(matches_glob("a*b*c", "aXbXbXc"));
    EXPECT_TRUE(matches_glob("?a", "ba"));
    EXPECT_FALSE(matches_glob("?a", "a"));
    EXPECT_FALSE(matches_glob("a*b", "aXc"));
    EXPECT_FALSE(matches_glob("", "a"));
    EXPECT_FALSE(matches_glob(std::string(50, '*') + "b", std::string(10000, 'a')));
}

TEST(lr_schedule, golden_values) {
    OptimizerConfig c{.lr = 1.0};
    c.schedule = {.type = ScheduleType::cosine, .warmup_steps = 4, .min_lr = 0.1};
    EXPECT_DOUBLE_EQ(learning_rate(c, 1, 12), 0.25);
    EXPECT_DOUBLE_EQ(learning_rate(c, 4, 12), 1);
    EXPECT_DOUBLE_EQ(learning_rate(c, 8, 12), 0.55);
    EXPECT_DOUBLE_EQ(learning_rate(c, 12, 12), 0.1);
    c.schedule.type = ScheduleType::linear;
    EXPECT_DOUBLE_EQ(learning_rate(c, 6, 12), 1 - 0.9 * 0.25);
    EXPECT_DOUBLE_EQ(learning_rate(c, 12, 12), 0.1);
    c.schedule = {.type = ScheduleType::wsd,
                  .warmup_steps = 2,
                  .min_lr = 0,
                  .decay_steps = 4,
                  .decay_shape = DecayShape::sqrt};
    EXPECT_DOUBLE_EQ(learning_rate(c, 8, 12), 1);
    EXPECT_DOUBLE_EQ(learning_rate(c, 9, 12), 0.5);
    EXPECT_DOUBLE_EQ(learning_rate(c, 12, 12), 0);
    c.schedule.decay_shape = DecayShape::linear;
    EXPECT_DOUBLE_EQ(learning_rate(c, 9, 12), 0.75);
    c.schedule = {.type = ScheduleType::constant};
    EXPECT_DOUBLE_EQ(learning_rate(c, 1, 12), 1);
    EXPECT_DOUBLE_EQ(learning_rate(c, 12, 12), 1);
}

TEST(gradient_norm, sums_clips_and_names_the_culprit) {
    SmallStore s(DType::f32);
    s.set_gradients(1);
    double expected = 0;
    for (const auto& unit : s.store.units())
        for (double g : to_vector(unit->gradients)) expected += g * g;
    EXPECT_NEAR(gradient_sum_of_squares(s.store), expected, 1e-14 * expected);
    EXPECT_EQ(clip_factor(2, 1), 0.5);
    EXPECT_EQ(clip_factor(0.5, 1), 1);
    EXPECT_EQ(clip_factor(2, 0), 1);
    EXPECT_EQ(first_non_finite_gradient(s.store), "");
    s.store.unit(1).gradients.data<float>()[7] = std::nanf("");
    EXPECT_EQ(first_non_finite_gradient(s.store), "layers.0.attn.k.weight");
}

} // namespace
} // namespace braid::testing
