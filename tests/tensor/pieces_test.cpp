#include "tensor/pieces.h"

#include "ops/basic/activation.h"
#include "ops/moe/grouped_linear.h"
#include "ops/moe/permute.h"
#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

constexpr int64_t kExperts = 3, kWidth = 4, kChoices = 2;

/// Experts of one matrix each: an input that is differentiable, one that is not, and one weight for all rows.
struct Case {
    TestContext t;
    ParameterStore store;
    const Parameter* weight;

    Case() {
        store.begin_unit("layers.0");
        weight = store.declare(ParameterSpec{"w",
                                             {kExperts, kWidth, kWidth},
                                             ParameterRole::expert,
                                             kWidth,
                                             {Initializer::Kind::normal, 0.4},
                                             "",
                                             -1});
        store.allocate(t.allocator, DType::f64, true);
        store.initialize(2);
    }

    Values inputs(int64_t rows) {
        std::vector<double> expert; // two different ones or one alone for each row
        for (int64_t r = 0; r < rows; ++r) {
            expert.push_back(static_cast<double>(r % kExperts));
            expert.push_back(r % 4 == 0 ? -1 : static_cast<double>((r + 1) % kExperts));
        }
        return {random_tensor(t.allocator, {rows, kWidth}, DType::f64, "x"),
                random_tensor(t.allocator, {rows, kChoices}, DType::f64, "weight"),
                from_vector(t.allocator, {rows, kChoices}, DType::i32, expert)};
    }
    /// Counts its calls and the most rows that one of them got.
    RowFunction body() {
        return [this](Context& ctx, const Values& in) {
            ++calls;
            most_rows = std::max(most_rows, in[0].dim(0));
            const ops::ExpertPlan plan = ops::make_expert_plan(ctx, in[2], kExperts);
            const Tensor y = ops::grouped_linear(ctx, ops::permute(ctx, in[0], plan), weight, plan.offsets);
            return ops::combine(ctx, ops::silu(ctx, y), in[1], plan);
        };
    }
    /// {y, dx, d of the rows' weights, dw} for given output gradients.
    Values run(const Values& in, int64_t piece_rows) {
        calls = most_rows = 0;
        store.zero_gradients();
        Tape tape;
        Context ctx = t.ctx;
        ctx.tape = &tape;
        const Tensor y = run_in_pieces(ctx, in, piece_rows, body());
        saved_bytes = tape.saved_bytes();
        Gradients table(t.allocator);
        table.add(y.ref(), random_tensor(t.allocator, y.shape(), DType::f64, "dy"));
        tape.backward(t.ctx, table);
        EXPECT_FALSE(table.take(in[2].ref()).defined()) << "integers have no gradient";
        return {y, table.take(in[0].ref()), table.take(in[1].ref()),
                converted(t.allocator, weight->gradient(), DType::f64)};
    }

    int64_t calls = 0, most_rows = 0, saved_bytes = 0;
};

const char* const kNames[] = {"y", "dx", "dweight", "dw"};

TEST(pieces, any_size_gives_the_same_numbers) {
    Case c;
    for (const int64_t rows : {1, 2, 7, 16}) {
        const Values in = c.inputs(rows);
        const Values whole = c.run(in, 0);
        EXPECT_EQ(c.calls, 1);
        for (const int64_t piece_rows : {1, 2, 3, 5, 15, 16, 100}) {
            const Values pieces = c.run(in, piece_rows);
            const int64_t num_pieces = (rows + piece_rows - 1) / piece_rows;
            EXPECT_EQ(c.calls, num_pieces == 1 ? 1 : 2 * num_pieces) << rows << " in " << piece_rows;
            EXPECT_EQ(c.most_rows, std::min(rows, piece_rows));
            // Sums of up to 16 products of numbers near 1, taken in another order: 1e-15 each at most.
            for (size_t i = 0; i < whole.size(); ++i) expect_close(pieces[i], whole[i], 1e-13, kNames[i]);
        }
    }
}

TEST(pieces, as_many_rows_as_fit_one_piece_are_run_as_they_stand) {
    Case c;
    const Values in = c.inputs(6);
    const Values whole = c.run(in, 0);
    const int64_t kept = c.saved_bytes;
    const Values one_piece = c.run(in, 6);
    EXPECT_EQ(c.saved_bytes, kept);
    for (size_t i = 0; i < whole.size(); ++i) expect_identical(one_piece[i], whole[i], kNames[i]);
}

TEST(pieces, no_row_and_no_tape) {
    Case c;
    const Values empty = c.inputs(0);
    const Values gradients = c.run(empty, 3);
    EXPECT_EQ(gradients[0].shape(), (Shape{0, kWidth}));
    for (const double g : to_vector(gradients[3])) EXPECT_EQ(g, 0);

    const Values in = c.inputs(7);
    const Tensor recorded = c.run(in, 3)[0];
    expect_identical(run_in_pieces(c.t.ctx, in, 3, c.body()), recorded, "y without a tape");
}

TEST(pieces, only_the_inputs_are_kept) {
    Case c;
    const Values in = c.inputs(16);
    int64_t input_bytes = 0;
    for (const Tensor& x : in) input_bytes += static_cast<int64_t>(x.storage_bytes());
    c.run(in, 4);
    EXPECT_EQ(c.saved_bytes, input_bytes);
    c.run(in, 0);
    EXPECT_GT(c.saved_bytes, input_bytes);
}

TEST(pieces, of_rows_of_a_wider_tensor) {
    Case c;
    const Values in = c.inputs(7);
    const Tensor wide = random_tensor(c.t.allocator, {7, 2 * kWidth}, DType::f64, "wide");
    const Tensor part = wide.columns(1, kWidth);
    const Values packed = c.run({converted(c.t.allocator, part, DType::f64), in[1], in[2]}, 3);
    const Values strided = c.run({part, in[1], in[2]}, 3);
    for (size_t i = 0; i < packed.size(); ++i) expect_identical(strided[i], packed[i], kNames[i]);
}

TEST(pieces, memory_is_given_back) {
    Case c;
    const Values in = c.inputs(9);
    const int64_t before = c.t.allocator.statistics().used_bytes;
    c.run(in, 2);
    EXPECT_EQ(c.t.allocator.statistics().used_bytes, before);
}

} // namespace
} // namespace braid::testing
