// Muon against a plain implementation: loops over vectors, one matrix after the other.

#include "optim/muon.h"

#include <cmath>
#include <map>

#include "parallel/thread_comm.h"
#include "tensor/host_values.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

/// Rows of numbers.
using Plain = std::vector<std::vector<double>>;

Plain product(const Plain& a, const Plain& b) {
    Plain c(a.size(), std::vector<double>(b[0].size()));
    for (size_t i = 0; i < a.size(); ++i)
        for (size_t k = 0; k < b.size(); ++k)
            for (size_t j = 0; j < b[0].size(); ++j) c[i][j] += a[i][k] * b[k][j];
    return c;
}

Plain transposed(const Plain& a) {
    Plain t(a[0].size(), std::vector<double>(a.size()));
    for (size_t i = 0; i < a.size(); ++i)
        for (size_t j = 0; j < a[0].size(); ++j) t[j][i] = a[i][j];
    return t;
}

/// Five of Jordan's steps on x / |x|, as x <- a x + b (x xᵀ) x + c (x xᵀ)(x xᵀ) x whatever the shape.
Plain orthogonalized(Plain x) {
    double squares = 0;
    for (const auto& row : x)
        for (double value : row) squares += value * value;
    for (auto& row : x)
        for (double& value : row) value /= std::sqrt(squares) + 1e-7;
    for (int step = 0; step < 5; ++step) {
        const Plain gram = product(x, transposed(x)), once = product(gram, x), twice = product(gram, once);
        for (size_t i = 0; i < x.size(); ++i)
            for (size_t j = 0; j < x[0].size(); ++j)
                x[i][j] = 3.4445 * x[i][j] - 4.7750 * once[i][j] + 2.0315 * twice[i][j];
    }
    return x;
}

/// A tensor of the test with the boxes of its rows and columns that are matrices; none: AdamW.
struct Declared {
    ParameterSpec spec;
    int64_t matrix_rows = 0, matrix_columns = 0;
};

std::vector<Declared> declared() {
    const Initializer normal{Initializer::Kind::normal, 1};
    const auto spec = [&](const char* name, const Shape& shape, ParameterRole role,
                          std::optional<MatrixBlocks> blocks, std::vector<Split> splits) {
        ParameterSpec result{name, shape, role, shape[shape.rank() - 1], normal, "attn", 0};
        result.matrices = blocks;
        result.splits = std::move(splits);
        return result;
    };
    const auto matrix = ParameterRole::matrix;
    std::vector<Declared> list = {
        {spec("q", {12, 5}, matrix, MatrixBlocks{.row_heads = 4}, {{.dim = 0, .parts = 4}}), 3, 5},
        {spec("k", {6, 5}, matrix, MatrixBlocks{.row_heads = 2}, {{.dim = 0, .parts = 2}}), 3, 5},
        {spec("gate", {4, 5}, matrix, {}, {{.dim = 0}})},
        {spec("out", {5, 12}, matrix, MatrixBlocks{.column_heads = 4}, {{.dim = 1, .parts = 4}}), 5, 3},
        {spec("down", {5, 7}, matrix, MatrixBlocks{}, {{.dim = 1}}), 5, 7},
        {spec("norm", {5}, ParameterRole::norm, {}, {})},
        {spec("gate_up", {4, 6, 5}, ParameterRole::expert, MatrixBlocks{.row_parts = 2},
              {{.dim = 0, .axis = Axis::expert}, {.dim = 1, .axis = Axis::expert_tensor, .ranges = 2}}),
         3, 5},
    };
    list.back().spec.expert = true;
    return list;
}

/// What a rank of a mesh holds of them, where tests run.
struct Model {
    Allocator host, allocator{test_device()};
    ParameterStore store;

    explicit Model(const Mesh& mesh, DType dtype = DType::f64) : store(mesh.grid()) {
        store.begin_unit("layers.0");
        for (const Declared& d : declared()) store.declare(d.spec);
        store.begin_unit("layers.1");
        store.declare(ParameterSpec{"vector", {3}, ParameterRole::norm, 3, {}, "attn", 1});
        store.allocate(allocator, dtype, true);
        store.initialize(7);
    }
    /// Calls body(section, its values, its gradients), which may change both.
    template <typename Body>
    void for_each_section(const Body& body) {
        for (const auto& unit : store.units()) {
            std::vector<double> values = to_vector(to_device(host, unit->values)),
                                gradients = to_vector(to_device(host, unit->gradients));
            for (const Parameter* parameter : unit->parameters)
                for (const auto& section : parameter->sections())
                    body(section, values.data() + section.unit_offset,
                         gradients.data() + section.unit_offset);
            copy(from_vector(host, unit->values.shape(), store.dtype(), values), unit->values);
            copy(from_vector(host, unit->gradients.shape(), store.dtype(), gradients), unit->gradients);
        }
    }
};

double made_gradient(const std::string& name, int64_t index, int step) {
    return 0.1 * RngStream(3, RngPurpose::test, name).normal(static_cast<uint64_t>(index * 10 + step));
}

OptimizerConfig muon_config() {
    OptimizerConfig config{.type = OptimizerType::muon, .lr = 0.02, .eps = 1e-3, .weight_decay = 0.1};
    config.groups = {{.name = {"out"}, .lr_scale = 0.5},
                     {.role = {ParameterRole::expert}, .weight_decay = 0}};
    return config;
}

constexpr int kSteps = 4;
double clip_of(int step) {
    return step == 2 ? 0.25 : 1;
}

/// All parameters after kSteps, by the formulas of optim/muon.h and optim/adamw.h.
std::map<std::string, std::vector<double>> expected_values(const OptimizerConfig& config) {
    std::map<std::string, std::vector<double>> result;
    std::vector<Declared> tensors = declared();
    tensors.push_back({{"vector", {3}, ParameterRole::norm, 3, {}, "attn", 1}});
    for (const Declared& d : tensors) {
        const RngStream start(7, RngPurpose::initialization, d.spec.name);
        const auto count = static_cast<size_t>(d.spec.shape.numel());
        std::vector<double> p, m(count), v(count);
        for (size_t i = 0; i < count; ++i)
            p.push_back(static_cast<float>(d.spec.init.value(start, static_cast<int64_t>(i))));
        const double lr = d.spec.name == "out" ? 0.01 : 0.02, beta = config.muon.momentum;
        const double decay = d.spec.role == ParameterRole::matrix ? 0.1 : 0;
        for (int step = 1; step <= kSteps; ++step) {
            std::vector<double> g, ahead(count);
            for (size_t i = 0; i < count; ++i)
                g.push_back(clip_of(step) * made_gradient(d.spec.name, static_cast<int64_t>(i), step));
            if (d.matrix_rows == 0) {
                for (size_t i = 0; i < count; ++i) {
                    m[i] = 0.9 * m[i] + 0.1 * g[i];
                    v[i] = 0.95 * v[i] + 0.05 * g[i] * g[i];
                    const double first = m[i] / (1 - std::pow(0.9, step)),
                                 second = v[i] / (1 - std::pow(0.95, step));
                    p[i] -= lr * (first / (std::sqrt(second) + 1e-3) + decay * p[i]);
                }
                continue;
            }
            for (size_t i = 0; i < count; ++i) {
                m[i] = beta * m[i] + (1 - beta) * g[i];
                ahead[i] = config.muon.nesterov ? beta * m[i] + (1 - beta) * g[i] : m[i];
            }
            const auto width = static_cast<size_t>(d.spec.shape[d.spec.shape.rank() - 1]);
            const auto rows = static_cast<size_t>(d.matrix_rows),
                       columns = static_cast<size_t>(d.matrix_columns);
            const double scale = 0.2 * std::sqrt(static_cast<double>(std::max(rows, columns)));
            for (size_t row = 0; row < count / width; row += rows) // experts' rows follow each other
                for (size_t column = 0; column < width; column += columns) {
                    Plain x(rows, std::vector<double>(columns));
                    for (size_t i = 0; i < rows; ++i)
                        for (size_t j = 0; j < columns; ++j) x[i][j] = ahead[(row + i) * width + column + j];
                    x = orthogonalized(x);
                    for (size_t i = 0; i < rows; ++i)
                        for (size_t j = 0; j < columns; ++j) {
                            double& value = p[(row + i) * width + column + j];
                            value -= lr * (scale * x[i][j] + decay * value);
                        }
                }
        }
        result[d.spec.name] = p;
    }
    return result;
}

/// Runs Muon on the ranks of a mesh and compares every element that any of them updates.
void check_ranks(const OptimizerConfig& config, int ranks, const ParallelConfig& sizes, bool sharded,
                 DType dtype = DType::f64) {
    const auto expected = expected_values(config);
    // Matrices of up to 7 x 5: 15 products of at most 7 terms and 4 steps, grown by the slope of 485, of
    // updates of size lr: 15 * 7 * 4 * 485 u lr, which is 5e-13 of f64.
    const double bound = 5e-13 * (dtype == DType::f32 ? 0x1p-24 / 0x1p-53 : 1);
    run_thread_ranks(ranks, [&](Communicator& world) {
        Mesh mesh(world, sizes);
        Model model(mesh, dtype);
        const auto optimizer = make_optimizer(config, model.store, mesh, model.allocator, sharded);
        EXPECT_EQ(optimizer->kind(), UpdateKind::matrix);
        for (int step = 1; step <= kSteps; ++step) {
            model.for_each_section([&](const Parameter::Section& section, double*, double* g) {
                section.partition.for_each_run([&](int64_t local, int64_t global, int64_t count) {
                    for (int64_t i = 0; i < count; ++i)
                        g[local + i] = made_gradient(section.spec.name, global + i, step);
                });
            });
            for (int unit = 0; unit < 2; ++unit) optimizer->update(unit, step, config.lr, clip_of(step));
        }
        EXPECT_TRUE(optimizer->exchanges(0));
        EXPECT_FALSE(optimizer->exchanges(1)) << "no matrix";
        EXPECT_EQ(optimizer->take_exposed_seconds() > 0, ranks > 1);
        EXPECT_EQ(optimizer->take_exposed_seconds(), 0) << "taken";
        const auto ranges = updated_ranges(model.store, sharded);
        size_t unit_index = 0;
        for (const auto& unit : model.store.units()) {
            const auto values = to_vector(to_device(model.host, unit->values));
            for (const Parameter* parameter : unit->parameters)
                for (const auto& section : parameter->sections())
                    section.partition.for_each_run([&](int64_t local, int64_t global, int64_t count) {
                        for (int64_t i = 0; i < count; ++i)
                            for (const FlatRange& range : ranges[unit_index]) {
                                const int64_t at = section.unit_offset + local + i;
                                if (at < range.first || at >= range.last) continue;
                                EXPECT_NEAR(values[static_cast<size_t>(at)],
                                            expected.at(section.spec.name)[static_cast<size_t>(global + i)],
                                            bound)
                                    << section.spec.name << " " << global + i << " on rank " << world.rank();
                            }
                    });
            ++unit_index;
        }
    });
}

TEST(muon, equals_the_formula) {
    check_ranks(muon_config(), 1, {}, false);
    OptimizerConfig plain = muon_config();
    plain.muon.nesterov = false;
    plain.muon.momentum = 0.8;
    check_ranks(plain, 1, {}, true);
    check_ranks(plain, 1, {}, false, DType::f32);
    check_ranks(muon_config(), 1, {}, true, DType::f32);
}

TEST(muon, equals_the_formula_on_every_mesh) {
    struct Case {
        int ranks;
        ParallelConfig sizes;
    };
    for (const Case& c :
         {Case{3, {}}, Case{8, {}}, Case{2, {.tensor = 2}}, Case{4, {.tensor = 4}}, // k on two ranks each
          Case{6, {.tensor = 2}}, Case{4, {.expert = 2, .expert_tensor = 2}}, Case{3, {.expert_tensor = 3}},
          Case{8, {.tensor = 4, .expert = 2}}, Case{8, {.tensor = 2, .expert = 4, .sequence = false}}})
        for (const bool sharded : {false, true}) check_ranks(muon_config(), c.ranks, c.sizes, sharded);
}

TEST(muon, more_ranks_than_elements_to_share) {
    // Shares of less than a row, and ranks that own nothing of a matrix or compute none.
    check_ranks(muon_config(), 24, {}, true);
}

TEST(muon, whole_tensors_when_heads_are_not_split) {
    const auto communicator = self_communicator();
    const Mesh mesh(*communicator, {});
    const Model model(mesh);
    OptimizerConfig config = muon_config();
    const auto count = [&](bool split_heads) {
        const MatrixPlan plan(model.store, resolve_groups(config, model.store), split_heads, mesh, true);
        std::map<size_t, std::vector<std::pair<int64_t, int64_t>>> shapes;
        for (const auto& matrix : plan.unit(0).matrices)
            shapes[matrix.section].emplace_back(matrix.rows, matrix.columns);
        EXPECT_TRUE(plan.unit(1).matrices.empty());
        return shapes;
    };
    const auto split = count(true), whole = count(false);
    EXPECT_EQ(split.at(0), (std::vector<std::pair<int64_t, int64_t>>(4, {3, 5}))) << "q, by head";
    EXPECT_EQ(whole.at(0), (std::vector<std::pair<int64_t, int64_t>>(1, {12, 5})));
    EXPECT_EQ(whole.at(3), (std::vector<std::pair<int64_t, int64_t>>(1, {5, 12})));
    EXPECT_FALSE(split.contains(2)) << "gates of one number a head";
    EXPECT_EQ(whole.at(6), split.at(6)) << "gate and up of an expert are never one matrix";
    EXPECT_EQ(whole.at(6).size(), 8u);
}

TEST(muon, work_is_shared_out_evenly) {
    run_thread_ranks(4, [&](Communicator& world) {
        const Mesh mesh(world, {});
        const Model model(mesh);
        const MatrixPlan plan(model.store, resolve_groups(muon_config(), model.store), true, mesh, false);
        EXPECT_EQ(plan.unit(0).matrices.size(), 4u + 2 + 4 + 1 + 8);
        std::vector<double> work(4);
        double all = 0, smallest = 1e9;
        for (const auto& matrix : plan.unit(0).matrices) {
            const double flops = ops::newton_schulz_flops(matrix.rows, matrix.columns, 5);
            work[static_cast<size_t>(matrix.rank)] += flops;
            all += flops;
            smallest = std::min(smallest, flops);
        }
        // All but one are of the smallest size and dealt out last, to the least busy.
        for (const double of_rank : work) EXPECT_LE(of_rank, all / 4 + smallest);
    });
}

TEST(muon, keeps_momentum_of_matrices_and_moments_of_the_rest) {
    const auto communicator = self_communicator();
    const Mesh mesh(*communicator, {});
    Model model(mesh);
    OptimizerConfig config = muon_config();
    config.groups = {{.name = {"down"}, .muon = false}};
    const auto optimizer = make_optimizer(config, model.store, mesh, model.allocator);
    EXPECT_EQ(optimizer->states(0, 0), std::vector<std::string>{"momentum"});
    EXPECT_EQ(optimizer->states(0, 4), (std::vector<std::string>{"exp_avg", "exp_avg_sq"}));
    std::map<std::string, int64_t> elements;
    int64_t all = 0;
    optimizer->visit_state([&](const std::string& name, int, const FlatRange& range, const Tensor& state) {
        EXPECT_EQ(state.numel(), range.last - range.first);
        elements[name] += state.numel();
        all += state.numel();
    });
    // q, k, out and gate_up; gate, down, norm and vector.
    EXPECT_EQ(elements["momentum"], 60 + 30 + 60 + 120);
    EXPECT_EQ(elements["exp_avg"], 20 + 35 + 5 + 3);
    EXPECT_EQ(num_state_elements(config, model.store), all);
    config.groups = {{.name = {"norm"}, .muon = true}};
    EXPECT_THROW(make_optimizer(config, model.store, mesh, model.allocator), ConfigError);
}

// What `braid verify` lets pass: a matrix of next to no gradient is one whose rounding grows most.
TEST(muon, an_update_changes_by_no_more_than_its_slope) {
    const auto communicator = self_communicator();
    const Mesh mesh(*communicator, {});
    for (const double size : {1.0, 1e-6, 1e-9}) {
        const auto values_with = [&](double change, std::map<std::string, double>* slopes) {
            Model model(mesh);
            OptimizerConfig config{.type = OptimizerType::muon, .weight_decay = 0};
            const auto optimizer = make_optimizer(config, model.store, mesh, model.allocator);
            std::map<std::string, std::vector<double>> values;
            model.for_each_section([&](const Parameter::Section& section, double*, double* g) {
                for (int64_t i = 0; i < section.numel(); ++i) // of rank 1, so that there are values at 0
                    g[i] = size * (1 + change * made_gradient("change", i, 1));
            });
            optimizer->update(0, 1, 0.5, 0.25);
            if (slopes) *slopes = optimizer->update_slopes();
            model.for_each_section([&](const Parameter::Section& section, const double* p, double*) {
                values[section.spec.name].assign(p, p + section.numel());
            });
            return values;
        };
        std::map<std::string, double> slopes;
        const double change = 1e-7;
        auto before = values_with(0, &slopes), after = values_with(change, nullptr);
        EXPECT_EQ(slopes.size(), 5u) << "q, k, out, down, gate_up";
        for (const auto& [name, slope] : slopes) {
            double difference = 0, squares = 0;
            for (size_t i = 0; i < before[name].size(); ++i) {
                difference = std::max(difference, std::abs(after[name][i] - before[name][i]));
                squares += std::pow(size * change * made_gradient("change", static_cast<int64_t>(i), 1), 2);
            }
            EXPECT_LE(difference, slope * std::sqrt(squares)) << name << ", gradients of " << size;
            EXPECT_GE(difference, 0.01 * slope * std::sqrt(squares)) << name << ", gradients of " << size;
        }
    }
}

TEST(muon, scales) {
    for (const auto& [scale, out_in] : {std::pair{MuonScale::match_rms, 0.2 * std::sqrt(12.0)},
                                        {MuonScale::original, std::sqrt(12.0 / 5)},
                                        {MuonScale::spectral, std::sqrt(12.0 / 5)}}) {
        const auto communicator = self_communicator();
        const Mesh mesh(*communicator, {});
        Model model(mesh), start(mesh);
        OptimizerConfig config{.type = OptimizerType::muon, .weight_decay = 0};
        config.muon.scale = scale;
        config.muon.split_heads = false;
        config.muon.coefficients = MuonCoefficients::polar_express;
        config.muon.ns_steps = 9;
        const auto optimizer = make_optimizer(config, model.store, mesh, model.allocator);
        model.for_each_section([&](const Parameter::Section& section, double*, double* g) {
            for (int64_t i = 0; i < section.numel(); ++i) g[i] = made_gradient(section.spec.name, i, 1);
        });
        optimizer->update(0, 1, 0.5, 1);
        // The update of q [12, 5] has five singular values of lr x scale.
        double squares = 0;
        const auto values_of_q = [](Model& m) {
            return host_values<double>(m.store.units()[0]->parameters[0]->value());
        };
        const auto now = values_of_q(model), before = values_of_q(start);
        for (size_t i = 0; i < now.size(); ++i) squares += std::pow(now[i] - before[i], 2);
        EXPECT_NEAR(std::sqrt(squares), 0.5 * out_in * std::sqrt(5.0), 1e-10);
    }
}

} // namespace
} // namespace braid::testing
