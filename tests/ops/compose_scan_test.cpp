#include "ops/compose/scan.h"

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

DocumentsPtr documents_of(const std::vector<int32_t>& lengths) {
    auto documents = std::make_shared<Documents>();
    documents->offsets = {0};
    for (const int32_t length : lengths) documents->offsets.push_back(documents->offsets.back() + length);
    return documents;
}

OpCase scan_case(Allocator& allocator, const std::vector<int32_t>& lengths, int64_t rows, int64_t columns,
                 bool initial) {
    const DocumentsPtr runs = documents_of(lengths);
    const int64_t steps = runs->num_tokens();
    OpCase op{"scan",
              {},
              {random_tensor(allocator, {steps, rows}, DType::f64, "decay", 0.2, 0.5),
               random_tensor(allocator, {steps, rows, columns}, DType::f64, "update")},
              [runs, initial](Context& ctx, const Values& x, const OpCase::Weights&) {
                  const auto states = ops::scan_states(ctx, x[0], x[1], runs, initial ? x[2] : Tensor());
                  return Values{states.before, states.last, ops::cumulative_sum(ctx, x[1], runs)};
              }};
    if (initial)
        op.inputs.push_back(
            random_tensor(allocator, {runs->num_documents(), rows, columns}, DType::f64, "initial"));
    return op;
}

TEST(compose_scan, gradients) {
    TestContext t;
    for (const auto& lengths : {std::vector<int32_t>{1}, {4, 0, 1, 3}, {0}, {}})
        for (const bool initial : {false, true})
            check_op_gradients(scan_case(t.allocator, lengths, 3, 2, initial));
}

TEST(compose_scan, what_nobody_reads_has_no_gradient) {
    TestContext t;
    for (const size_t read : {size_t{0}, size_t{1}}) {
        OpCase op = scan_case(t.allocator, {3, 2}, 2, 2, true);
        op.forward = [read, forward = op.forward](Context& ctx, const Values& x, const OpCase::Weights& w) {
            return Values{forward(ctx, x, w)[read]};
        };
        check_op_gradients(op);
    }
}

TEST(compose_scan, matches_the_recurrence) {
    TestContext t, tested(test_device());
    const std::vector<int32_t> lengths = {4, 0, 1, 3};
    const OpCase op = scan_case(t.allocator, lengths, 3, 2, true);
    const Values results = run_op(op, tested, DType::f64);
    const auto decay = to_vector(op.inputs[0]), update = to_vector(op.inputs[1]),
               initial = to_vector(op.inputs[2]), before = to_vector(results[0]),
               last = to_vector(results[1]), sums = to_vector(results[2]);
    size_t step = 0;
    for (size_t run = 0; run < lengths.size(); ++run) {
        std::vector<double> state(initial.begin() + static_cast<int64_t>(run) * 6,
                                  initial.begin() + static_cast<int64_t>(run + 1) * 6);
        std::vector<double> sum(6, 0);
        for (int32_t n = 0; n < lengths[run]; ++n, ++step)
            for (size_t i = 0; i < 6; ++i) {
                EXPECT_NEAR(before[step * 6 + i], state[i], 1e-14); // four steps of numbers near one
                state[i] = decay[step * 3 + i / 2] * state[i] + update[step * 6 + i];
                sum[i] += update[step * 6 + i];
                EXPECT_NEAR(sums[step * 6 + i], sum[i], 1e-14);
            }
        for (size_t i = 0; i < 6; ++i) EXPECT_NEAR(last[run * 6 + i], state[i], 1e-14);
    }
}

TEST(compose_scan, f32_and_threads) {
    TestContext t;
    const OpCase op = scan_case(t.allocator, {200, 1, 99}, 17, 9, true);
    expect_f32_close_to_f64(op, random_sum_error(200, 4)); // the sums of the longest run; states decay
    expect_same_bits_for_any_threads(op);
    // The gradient of updates is the rounded sum of two rounded sums; that of decays has a rounded state and
    // a rounded gradient in it, and so in each of its nine terms, of which a sum is a part.
    expect_bf16_close_to_f32(op, {.rounded = 6});
}

TEST(compose_scan, refuses_runs_that_do_not_fit) {
    TestContext t;
    const Tensor x = random_tensor(t.allocator, {4, 3, 2}, DType::f32, "x");
    EXPECT_THROW(ops::cumulative_sum(t.ctx, x, documents_of({3})), InternalError);
    EXPECT_THROW(
        ops::scan_states(t.ctx, random_tensor(t.allocator, {4, 2}, DType::f32, "d"), x, documents_of({4})),
        InternalError);
}

} // namespace
} // namespace braid::testing
