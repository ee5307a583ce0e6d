// What holds for every type of sublayer that is registered, by its examples: a new one is tested here without
// a line. Beside these: layers.block (forward, gradients, norms, recomputation) and trainer.sublayer_types
// (layouts, precisions).

#include "layers/specification/sublayer_type.h"

#include <set>

#include "layers/model/model.h"
#include "layers/specification/model_schema.h"
#include "layers/sublayer/decode_state.h"
#include "tests/support/sublayer_examples.h"
#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

class every_type : public ::testing::TestWithParam<SublayerExample> {};

/// The config as a file would have it, read again.
SublayerConfig read_again(const SublayerConfig& config) {
    const YamlNode tree = sublayer_schema().write(config);
    SublayerConfig result;
    ReadLog log;
    sublayer_schema().read(tree, "sub", result, log);
    SchemaDocs docs;
    sublayer_schema().describe("sub", docs);
    log.throw_faults(docs, tree);
    return result;
}

TEST_P(every_type, a_file_can_say_it) {
    const SublayerConfig config{GetParam().config, {}, {}};
    EXPECT_EQ(read_again(config), config);
}

TEST_P(every_type, shrinking_leaves_a_valid_config) {
    SublayerConfig config{GetParam().config, {}, {}};
    const SublayerType& type = type_of(config);
    type.shrink(config.kind);
    EXPECT_EQ(read_again(config), config);
}

TEST_P(every_type, decoding_equals_teacher_forcing_and_goes_on_from_a_snapshot) {
    const ModelConfig config = model_of(GetParam().config);
    TestContext t;
    ParameterStore store;
    const Model model(config, store);
    store.allocate(t.allocator, DType::f64, false);
    store.initialize(3);
    std::vector<double> ids;
    for (int i = 0; i < 48; ++i) ids.push_back((i * i + 3 * i) % 11);
    const Tensor tokens = from_vector(t.allocator, {48}, DType::i32, ids);
    t.set_documents({48});
    const Tensor all = model.logits(t.ctx, model.hidden(t.ctx, tokens));

    DecodeState state;
    LayerContext ctx = t.ctx;
    ctx.decode = &state;
    const auto decode = [&](int64_t first, int64_t count) {
        ctx.documents = Documents::single(count, state.position());
        const Tensor logits = model.logits(ctx, model.hidden(ctx, tokens.rows(first, count)));
        state.advance(count);
        return logits;
    };
    int64_t at = 0;
    for (const int64_t count : {20, 1, 1, 18, 2}) { // a prompt, single tokens, and several at once
        // A few dozen operations on numbers near one, each rounded to 1e-16.
        expect_close(decode(at, count), all.rows(at, count), 1e-12, GetParam().name);
        at += count;
    }
    DecodeState kept = state.snapshot(), other = state.snapshot();
    const Tensor once = decode(at, 3);
    std::swap(state, other);
    decode(0, 5); // what goes on with other tokens leaves no trace in the state that it was taken of
    std::swap(state, other);
    expect_close(decode(at + 3, 3), all.rows(at + 3, 3), 1e-12, "beside a snapshot that went on");
    state = std::move(kept);
    expect_identical(decode(at, 3), once, "after going back to the snapshot");
}

INSTANTIATE_TEST_SUITE_P(sublayer_types, every_type, ::testing::ValuesIn(sublayer_examples()),
                         [](const auto& info) { return info.param.name; });

TEST(sublayer_types, names_are_their_own) {
    std::set<std::string> names;
    for (const SublayerType& type : sublayer_types()) {
        EXPECT_TRUE(names.insert(type.name).second) << type.name;
        EXPECT_FALSE(type.examples.empty()) << type.name;
        for (const auto& [name, config] : type.examples) EXPECT_EQ(&type_of({config, {}, {}}), &type) << name;
    }
}

} // namespace
} // namespace braid::testing
