#include "ops/compose/scan.h"

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

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

OpCase matrix_scan_case(Allocator& allocator, const std::vector<int32_t>& lengths, int64_t heads,
                        int64_t rows, int64_t columns, bool initial) {
    const DocumentsPtr runs = documents_of(lengths);
    const int64_t steps = runs->num_tokens();
    // Transitions that shrink: entries of size 1 / (2 rows).
    OpCase op{"matrix scan",
              {},
              {random_tensor(allocator, {steps, heads, rows, rows}, DType::f64, "transition",
                             0.5 / static_cast<double>(rows)),
               random_tensor(allocator, {steps, heads, rows, columns}, DType::f64, "update")},
              [runs, initial](Context& ctx, const Values& x, const OpCase::Weights&) {
                  const auto states = ops::scan_matrices(ctx, x[0], x[1], runs, initial ? x[2] : Tensor());
                  return Values{states.before, states.last};
              }};
    if (initial)
        op.inputs.push_back(
            random_tensor(allocator, {runs->num_documents(), heads, rows, columns}, DType::f64, "initial"));
    return op;
}

TEST(compose_scan, gradients) {
    TestContext t;
    for (const auto& lengths : {std::vector<int32_t>{1}, {4, 0, 1, 3}, {0}, {}})
        for (const bool initial : {false, true})
            for (const OpCase& op : {scan_case(t.allocator, lengths, 3, 2, initial),
                                     matrix_scan_case(t.allocator, lengths, 2, 3, 2, initial)})
                check_op_gradients(op);
}

TEST(compose_scan, what_nobody_reads_has_no_gradient) {
    TestContext t;
    for (const size_t read : {size_t{0}, size_t{1}}) {
        for (OpCase op : {scan_case(t.allocator, {3, 2}, 2, 2, true),
                          matrix_scan_case(t.allocator, {3, 2}, 1, 2, 2, false)}) {
            op.forward = [read, forward = op.forward](Context& ctx, const Values& x,
                                                      const OpCase::Weights& w) {
                return Values{forward(ctx, x, w)[read]};
            };
            check_op_gradients(op);
        }
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

TEST(compose_scan, matrices_match_the_recurrence) {
    TestContext t, tested(test_device());
    const std::vector<int32_t> lengths = {4, 0, 3};
    constexpr size_t kHeads = 2, kSide = 3, kColumns = 2, kSize = kSide * kColumns;
    const OpCase op = matrix_scan_case(t.allocator, lengths, kHeads, kSide, kColumns, true);
    const Values results = run_op(op, tested, DType::f64);
    const auto transition = to_vector(op.inputs[0]), update = to_vector(op.inputs[1]),
               initial = to_vector(op.inputs[2]), before = to_vector(results[0]),
               last = to_vector(results[1]);
    for (size_t head = 0; head < kHeads; ++head) {
        size_t step = 0;
        for (size_t run = 0; run < lengths.size(); ++run) {
            const auto start = initial.begin() + static_cast<int64_t>((run * kHeads + head) * kSize);
            std::vector<double> state(start, start + kSize);
            for (int32_t n = 0; n < lengths[run]; ++n, ++step) {
                const size_t at = step * kHeads + head;
                std::vector<double> next(kSize);
                for (size_t i = 0; i < kSize; ++i) {
                    EXPECT_NEAR(before[at * kSize + i], state[i], 1e-14); // four steps of numbers near one
                    next[i] = update[at * kSize + i];
                    for (size_t k = 0; k < kSide; ++k)
                        next[i] += transition[(at * kSide + i / kColumns) * kSide + k] *
                                   state[k * kColumns + i % kColumns];
                }
                state = next;
            }
            for (size_t i = 0; i < kSize; ++i)
                EXPECT_NEAR(last[(run * kHeads + head) * kSize + i], state[i], 1e-14);
        }
    }
}

TEST(compose_scan, f32_and_threads) {
    TestContext t;
    const OpCase matrices = matrix_scan_case(t.allocator, {40, 1, 9}, 3, 8, 5, true);
    // Transitions halve what came before, so that errors add up to twice those of a step, of nine terms.
    expect_f32_close_to_f64(matrices, 2 * random_sum_error(9, 4));
    expect_same_bits_for_any_threads(matrices);
    // States are rounded at every step, and halve.
    expect_bf16_close_to_f32(matrices, {.rounded = 4});
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
