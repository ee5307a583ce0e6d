#include "ops/basic/embedding.h"

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

OpCase embedding_case(Allocator& allocator, const std::vector<double>& ids, int64_t vocabulary,
                      int64_t width) {
    return {"embedding",
            {{{vocabulary, width}}},
            {from_vector(allocator, {static_cast<int64_t>(ids.size())}, DType::i32, ids)},
            [](Context& ctx, const Values& x, const OpCase::Weights& w) {
                return Values{ops::embedding(ctx, x[0], w[0])};
            }};
}

TEST(embedding, gradients) {
    TestContext t;
    check_op_gradients(embedding_case(t.allocator, {4, 0, 4, 4, 2, 0}, 5, 3));
    check_op_gradients(embedding_case(t.allocator, {0}, 1, 1));
    check_op_gradients(embedding_case(t.allocator, {}, 3, 2));
    std::vector<double> ids(70, 1); // one word as often as a blank in text: a GPU takes 32 of them at a time
    ids[5] = 0;
    check_op_gradients(embedding_case(t.allocator, ids, 3, 35));
    ids.resize(33);
    check_op_gradients(embedding_case(t.allocator, ids, 2, 32));
}

TEST(embedding, rows_and_their_sums) {
    TestContext t;
    const std::vector<double> ids = {3, 1, 3};
    const Values results = run_op(embedding_case(t.allocator, ids, 4, 2), t, DType::f64);
    const auto table = to_vector(random_tensor(t.allocator, {4, 2}, DType::f64, "embedding parameter 0"));
    const auto dy = to_vector(random_tensor(t.allocator, {3, 2}, DType::f64, "embedding output 0"));
    const auto y = to_vector(results[0]), dtable = to_vector(results[1]);
    for (size_t j = 0; j < 2; ++j) {
        for (size_t i = 0; i < 3; ++i) EXPECT_EQ(y[i * 2 + j], table[static_cast<size_t>(ids[i]) * 2 + j]);
        EXPECT_EQ(dtable[0 + j], 0);
        EXPECT_EQ(dtable[2 + j], dy[2 + j]);
        EXPECT_EQ(dtable[6 + j], dy[0 + j] + dy[4 + j]);
    }
}

TEST(embedding, same_bits_for_any_threads) {
    TestContext t;
    std::vector<double> ids(900);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<double>(i * i % 37);
    expect_same_bits_for_any_threads(embedding_case(t.allocator, ids, 50, 33));
    expect_bf16_close_to_f32(embedding_case(t.allocator, ids, 50, 33));
}

TEST(embedding, refuses_tokens_outside_the_vocabulary) {
    TestContext t;
    for (const double bad : {5.0, -1.0}) {
        try {
            run_op(embedding_case(t.allocator, {0, bad}, 5, 2), t, DType::f32);
            FAIL() << "token " << bad << " was taken";
        } catch (const DataError& error) {
            EXPECT_NE(std::string(error.what()).find("position 1"), std::string::npos) << error.what();
        }
    }
}

} // namespace
} // namespace braid::testing
