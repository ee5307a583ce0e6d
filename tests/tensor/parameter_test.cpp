#include "tensor/parameters/parameter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

struct Moments {
    double mean = 0, deviation = 0, lowest = 0, highest = 0;
};

Moments moments(const Initializer& init, int64_t count) {
    const RngStream stream(5, RngPurpose::initialization, "some.weight");
    double sum = 0, squares = 0;
    Moments m{.lowest = init.value(stream, 0), .highest = init.value(stream, 0)};
    for (int64_t i = 0; i < count; ++i) {
        const double x = init.value(stream, i);
        sum += x;
        squares += x * x;
        m.lowest = std::min(m.lowest, x);
        m.highest = std::max(m.highest, x);
    }
    m.mean = sum / static_cast<double>(count);
    m.deviation = std::sqrt(squares / static_cast<double>(count) - m.mean * m.mean);
    return m;
}

constexpr int64_t kDraws = 200000;
// Five standard errors: of a mean d / sqrt(n); of a deviation d sqrt((kurtosis - 1) / 4n), kurtosis at most 3
// here.
const double kMeanBound = 5 / std::sqrt(static_cast<double>(kDraws));
const double kDeviationBound = 5 / std::sqrt(2.0 * static_cast<double>(kDraws));

TEST(parameter, initial_values_deviate_as_reported) {
    using enum Initializer::Kind;
    for (const Initializer& init :
         {Initializer{normal, 0.02}, Initializer{truncated_normal, 0.02}, Initializer{uniform, -0.3, 0.3},
          Initializer{log_uniform, 1, 16}, Initializer{inverse_softplus, 1e-3, 0.1}}) {
        const double reported = init.standard_deviation();
        const Moments m = moments(init, kDraws);
        EXPECT_NEAR(m.deviation / reported, 1, 2 * kDeviationBound) << "kind " << static_cast<int>(init.kind);
        if (init.kind != log_uniform && init.kind != inverse_softplus) {
            EXPECT_NEAR(m.mean / reported, 0, kMeanBound);
        }
    }
    EXPECT_EQ((Initializer{constant, 3}).standard_deviation(), 0);
}

TEST(parameter, time_steps_are_log_uniform) {
    const RngStream stream(4, RngPurpose::initialization, "dt");
    double sum = 0;
    for (int64_t i = 0; i < kDraws; ++i) {
        const double x = Initializer{Initializer::Kind::inverse_softplus, 1e-3, 0.1}.value(stream, i);
        const double dt = std::log1p(std::exp(x));
        ASSERT_GE(dt, 1e-3 * (1 - 1e-12));
        ASSERT_LE(dt, 0.1 * (1 + 1e-12));
        sum += std::log(dt);
    }
    // The middle of the logarithms, within five standard errors of a uniform number of that width.
    const double width = std::log(100.0);
    EXPECT_NEAR(sum / kDraws, std::log(0.01), 5 * width / std::sqrt(12.0 * kDraws));
}

TEST(parameter, truncated_normal_ends_at_three_deviations_of_its_parent) {
    const Moments m = moments({Initializer::Kind::truncated_normal, 1}, kDraws);
    const double parent = 1 / 0.98657; // what the cut at three leaves of a deviation of one
    EXPECT_LE(m.highest, 3 * parent + 1e-3);
    EXPECT_GE(m.lowest, -3 * parent - 1e-3);
    EXPECT_GT(m.highest, 2.9);
}

TEST(parameter, sections_start_alike_fused_or_alone) {
    const Initializer normal{Initializer::Kind::normal, 1};
    const ParameterSpec q{"a.q", {2, 3}, ParameterRole::matrix, 3, normal, "a", 0};
    const ParameterSpec k{"a.k", {5, 3}, ParameterRole::matrix, 3, normal, "a", 0};
    TestContext t;
    ParameterStore fused, apart;
    fused.begin_unit("layers.0");
    const Parameter* qk = fused.declare({q, k});
    apart.begin_unit("layers.0");
    const Parameter* only_k = apart.declare(k);
    for (ParameterStore* store : {&fused, &apart}) {
        store->allocate(t.allocator, DType::f64, false);
        store->initialize(9);
    }
    EXPECT_EQ(qk->shape(), (Shape{7, 3}));
    EXPECT_EQ(fused.num_elements(), 21);
    expect_identical(qk->value().rows(2, 5), only_k->value(), "section k");
}

TEST(parameter, each_element_is_a_function_of_its_index_for_any_number_of_threads) {
    using enum Initializer::Kind;
    TestContext t;
#ifdef _OPENMP
    const int usual = omp_get_max_threads();
#endif
    for (const Initializer& init : {Initializer{normal, 0.02}, Initializer{truncated_normal, 0.02},
                                    Initializer{uniform, -0.3, 0.3}, Initializer{log_uniform, 1, 16},
                                    Initializer{inverse_softplus, 1e-3, 0.1}, Initializer{constant, 3}})
        for (const int threads : {1, 2, 5}) {
#ifdef _OPENMP
            omp_set_num_threads(threads);
#endif
            ParameterStore store;
            store.begin_unit("layers.0");
            const Parameter* w = store.declare({"w", {37, 301}, ParameterRole::matrix, 301, init, "a", 0});
            store.allocate(t.allocator, DType::f32, false);
            store.initialize(9);
            const RngStream stream(9, RngPurpose::initialization, "w");
            const float* values = w->value().data<float>();
            int64_t wrong = 0;
            for (int64_t i = 0; i < 37 * 301; ++i)
                wrong += values[i] != static_cast<float>(init.value(stream, i));
            EXPECT_EQ(wrong, 0) << "kind " << static_cast<int>(init.kind) << ", threads " << threads;
        }
#ifdef _OPENMP
    omp_set_num_threads(usual);
#endif
}

TEST(parameter, f64_starts_from_the_weights_of_f32) {
    TestContext t;
    std::vector<std::vector<double>> values;
    for (DType dtype : {DType::f32, DType::f64}) {
        ParameterStore store;
        store.begin_unit("u");
        const Parameter* w = store.declare(ParameterSpec{
            "w", {4, 5}, ParameterRole::matrix, 5, {Initializer::Kind::truncated_normal, 0.1}, "", -1});
        store.allocate(t.allocator, dtype, false);
        store.initialize(1);
        values.push_back(to_vector(w->value()));
    }
    EXPECT_EQ(values[0], values[1]);
}

TEST(parameter, mistaken_declarations_are_refused) {
    ParameterStore store;
    const ParameterSpec w{"w", {2, 3}, ParameterRole::matrix, 3, {}, "", -1};
    EXPECT_THROW(store.declare(w), InternalError); // no unit
    store.begin_unit("u");
    store.declare(w);
    EXPECT_THROW(store.declare(w), InternalError);
    EXPECT_THROW(store.declare_buffer("w", {1}, DType::i64), InternalError);
    ParameterSpec wider = w;
    wider.name = "wider";
    wider.shape = {2, 4};
    ParameterSpec fits = w;
    fits.name = "fits";
    EXPECT_THROW(store.declare({fits, wider}), InternalError);
}

// As a config of 10,000 layers, which a forged checkpoint may hold, has them: comparing each name with all
// others would take an hour.
TEST(parameter, very_many_are_declared_in_no_time) {
    ParameterStore store;
    store.begin_unit("u");
    for (int i = 0; i < 300'000; ++i)
        store.declare({fmt::format("layers.{}.mlp.up.weight", i), {1}, ParameterRole::matrix, 1, {}, "", -1});
    EXPECT_EQ(store.num_elements(), 300'000);
}

} // namespace
} // namespace braid::testing
