#include "layers/model/block.h"

#include <cmath>
#include <map>

#include "layers/model/registry.h"
#include "layers/specification/sublayer_type.h"
#include "layers/sublayer/recorder.h"
#include "tests/layers/reference.h"
#include "tests/support/gradient_check.h"
#include "tests/support/sublayer_examples.h"

namespace braid::testing {
namespace {

constexpr int64_t kHidden = 6;

/// One block with its parameters, in f64, with weights large enough that every path matters.
struct BlockCase {
    TestContext t;
    ModelConfig model;
    ResolvedSublayer sublayer;
    ParameterStore store;
    std::unique_ptr<Block> block;
    int num_moe = 0;

    BlockCase(const SublayerExample& kind, NormConfig norm, const std::vector<int32_t>& documents) {
        model.hidden_size = kHidden;
        model.residual = {.stream_scale = 0.8, .branch_scale = 1.3};
        sublayer = {"sub",
                    {kind.config, {}, {}},
                    norm,
                    {.std = 0.4, .distribution = InitDistribution::normal, .output = InitOutput::same}};
        store.begin_unit("layers.0");
        const LayerBuilder build{store, model, sublayer, 0, 1, 0, num_moe};
        block = std::make_unique<Block>(build, make_sublayer(build));
        store.allocate(t.allocator, DType::f64, true);
        store.initialize(7);
        // Norm weights away from one, and biases away from zero, so that a forgotten one shows.
        for (const auto& unit : store.units())
            for (const Parameter* parameter : unit->parameters)
                for (const auto& section : parameter->sections())
                    if (section.spec.role == ParameterRole::norm ||
                        section.spec.role == ParameterRole::bias) {
                        double* values = unit->values.data<double>() + section.unit_offset;
                        for (int64_t i = 0; i < section.spec.shape.numel(); ++i)
                            values[i] += 0.1 * std::sin(1.0 + static_cast<double>(i));
                    }
        t.set_documents(documents);
    }

    Values run(LayerContext& ctx, const Values& inputs) const {
        Values values = inputs;
        for (const LayerSegment& segment : block->segments(0, false))
            values = segment.function()(ctx, values);
        return values;
    }
};

void expect_equals_reference(const SublayerExample& kind, const NormConfig& norm,
                             const std::vector<int32_t>& documents) {
    BlockCase c(kind, norm, documents);
    const int64_t tokens = c.t.ctx.documents->num_tokens();
    const Tensor x = random_tensor(c.t.allocator, {tokens, kHidden}, DType::f64, "x");
    const Values y = c.run(c.t.ctx, {x});
    reference::Matrix rows;
    for (int64_t i = 0; i < tokens; ++i)
        rows.emplace_back(x.data<double>() + i * kHidden, x.data<double>() + (i + 1) * kHidden);
    std::vector<double> expected;
    for (const auto& row :
         reference::block(reference::Weights(c.store), c.model, c.sublayer, "layers.0.sub.", rows, documents))
        expected.insert(expected.end(), row.begin(), row.end());
    // A few hundred operations on numbers of size one, each rounded to 1e-16.
    expect_close(y[0], from_vector(c.t.allocator, {tokens, kHidden}, DType::f64, expected), 1e-12,
                 fmt::format("{}, {}", kind.name, to_string(norm.placement)));
}

class every_sublayer : public ::testing::TestWithParam<SublayerExample> {};

TEST_P(every_sublayer, equals_reference_in_every_placement) {
    for (NormPlacement placement : {NormPlacement::pre, NormPlacement::post, NormPlacement::sandwich,
                                    NormPlacement::residual_post, NormPlacement::none})
        for (const auto& documents : {std::vector<int32_t>{1}, {9}, {4, 1, 0, 6}})
            expect_equals_reference(
                GetParam(), {.placement = placement, .zero_centered = placement == NormPlacement::pre},
                documents);
    expect_equals_reference(GetParam(), {}, {70, 3}); // several chunks of those that have them
    expect_equals_reference(GetParam(), {.type = NormType::layer, .placement = NormPlacement::sandwich},
                            {3, 5});
}

TEST_P(every_sublayer, gradients_in_every_placement) {
    for (NormPlacement placement : {NormPlacement::pre, NormPlacement::post, NormPlacement::sandwich,
                                    NormPlacement::residual_post, NormPlacement::none}) {
        BlockCase c(GetParam(), {.placement = placement, .zero_centered = true}, {5, 1, 3});
        const Tensor x = random_tensor(c.t.allocator, {9, kHidden}, DType::f64, "x");
        check_gradients(
            fmt::format("{}, {}", GetParam().name, to_string(placement)), c.t.ctx,
            [&](Context& ctx, const Values& in) {
                LayerContext run = c.t.ctx;
                static_cast<Context&>(run) = ctx;
                return c.run(run, in);
            },
            {x}, &c.store);
    }
}

TEST_P(every_sublayer, segments_give_the_bits_of_one_tape_kept_or_recomputed) {
    BlockCase c(GetParam(), {.placement = NormPlacement::sandwich}, {4, 3});
    const Tensor x = random_tensor(c.t.allocator, {7, kHidden}, DType::f64, "x");
    const Tensor dy = random_tensor(c.t.allocator, {7, kHidden}, DType::f64, "dy");
    Values input_gradients, parameter_gradients;
    std::vector<std::map<std::string, double>> diagnostics;
    for (int mode = 0; mode < 3; ++mode) { // one tape; a tape a segment; recomputed
        c.store.zero_gradients();
        Gradients gradients(c.t.allocator);
        Recorder recorder(static_cast<size_t>(c.num_moe), true);
        LayerContext ctx = c.t.ctx;
        ctx.recorder = &recorder;
        if (mode == 0) {
            Tape tape;
            ctx.tape = &tape;
            gradients.add(c.run(ctx, {x})[0].ref(), dy);
            tape.backward(ctx, gradients);
        } else {
            const auto segments = c.block->segments(0, mode == 2);
            std::vector<LayerSegment::Saved> saved(segments.size());
            Values values = {x};
            for (size_t i = 0; i < segments.size(); ++i) values = segments[i].forward(ctx, values, &saved[i]);
            gradients.add(values[0].ref(), dy);
            for (size_t i = segments.size(); i-- > 0;) segments[i].backward(ctx, saved[i], gradients);
        }
        input_gradients.push_back(gradients.take(x.ref()));
        const Tensor& sums = c.store.unit(0).gradients;
        parameter_gradients.push_back(converted(c.t.allocator, sums, DType::f64));
        expect_identical(input_gradients.back(), input_gradients.front(), "dx, mode " + std::to_string(mode));
        expect_identical(parameter_gradients.back(), parameter_gradients.front(),
                         "dw, mode " + std::to_string(mode));
        recorder.settle();
        auto& found = diagnostics.emplace_back();
        for (const auto& [key, statistic] : recorder.diagnostics()) found[key.second] = statistic.value();
        EXPECT_TRUE(found.contains("residual_rms") && found.contains("gradient_rms"));
        EXPECT_EQ(found, diagnostics.front()) << "mode " << mode;
    }
}

INSTANTIATE_TEST_SUITE_P(block, every_sublayer, ::testing::ValuesIn(sublayer_examples()),
                         [](const auto& info) { return info.param.name; });

} // namespace
} // namespace braid::testing
