#include "parallel/row_collectives.h"

#include <functional>

#include "parallel/collectives.h"
#include "parallel/thread_comm.h"
#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

constexpr int kRanks = 3;
const RowCounts kRows = {2, 0, 3}; // one rank has none

double dot(const Tensor& a, const Tensor& b) {
    const auto x = to_vector(a), y = to_vector(b);
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
    return sum;
}

/// Whether every rank holds the same tensor, which then counts once, or each a part of its own.
enum class Held { copy, parts };
using Collective = std::function<Tensor(Context&, Communicator&, const Tensor&)>;

/// Every collective is linear, so its backward must be its adjoint: <dy, f(x)> = <f'(dy), x>, whatever dy.
void expect_adjoint(int64_t rows_of_copy, Held in, Held out, const Collective& collective) {
    run_thread_ranks(kRanks, [&](Communicator& comm) {
        TestContext t(true);
        const auto named = [&](const char* name, Held held) {
            return held == Held::copy ? std::string(name) : name + std::to_string(comm.rank());
        };
        const int64_t rows = rows_of_copy >= 0 ? rows_of_copy : kRows[static_cast<size_t>(comm.rank())];
        const Tensor x = random_tensor(t.allocator, {rows, 4}, DType::f64, named("x", in));
        const Tensor y = collective(t.ctx, comm, x);
        const Tensor dy = random_tensor(t.allocator, y.shape(), DType::f64, named("dy", out));
        Gradients gradients(t.allocator);
        gradients.add(y.ref(), dy);
        t.tape.backward(t.ctx, gradients);
        const Tensor dx = gradients.take(x.ref());
        std::vector<double> sums = {dot(dy, y), dot(dx, x)};
        const std::vector<double> mine = sums;
        all_reduce_sum(comm, std::span(sums));
        const double after = out == Held::copy ? mine[0] : sums[0],
                     before = in == Held::copy ? mine[1] : sums[1];
        EXPECT_NEAR(after, before, 1e-13 * (1 + std::abs(after))) << "rank " << comm.rank();
    });
}

TEST(row_collectives, backward_is_the_adjoint) {
    expect_adjoint(-1, Held::parts, Held::parts,
                   [](auto& ctx, auto& comm, auto& x) { return all_gather_rows(ctx, comm, x, kRows); });
    expect_adjoint(5, Held::parts, Held::parts,
                   [](auto& ctx, auto& comm, auto& x) { return reduce_scatter_rows(ctx, comm, x, kRows); });
    expect_adjoint(5, Held::copy, Held::parts,
                   [](auto& ctx, auto& comm, auto& x) { return copy_to_region(ctx, comm, x); });
    expect_adjoint(5, Held::parts, Held::copy,
                   [](auto& ctx, auto& comm, auto& x) { return reduce_from_region(ctx, comm, x); });
    expect_adjoint(5, Held::parts, Held::parts,
                   [](auto& ctx, auto& comm, auto& x) { return reduce_in_region(ctx, comm, x); });
    expect_adjoint(5, Held::copy, Held::parts,
                   [](auto& ctx, auto& comm, auto& x) { return scatter_to_region(ctx, comm, x, kRows); });
    expect_adjoint(-1, Held::parts, Held::copy,
                   [](auto& ctx, auto& comm, auto& x) { return gather_from_region(ctx, comm, x, kRows); });
}

TEST(row_collectives, exchanged_rows_come_back_in_backward) {
    // Every rank has two rows for each rank but its right neighbour, which gets one, and its left, which gets
    // none.
    const auto rows_to = [](int from, int to) { return int64_t{2} - (to - from + kRanks) % kRanks; };
    expect_adjoint(3, Held::parts, Held::parts, [&](Context& ctx, Communicator& comm, const Tensor& x) {
        RowCounts send, expected;
        for (int r = 0; r < kRanks; ++r) {
            send.push_back(rows_to(comm.rank(), r));
            expected.push_back(rows_to(r, comm.rank()));
        }
        const RowCounts receive = exchange_counts(comm, send);
        EXPECT_EQ(receive, expected);
        RowExchange exchange(ctx, comm, x, send, receive);
        return exchange.finish(ctx);
    });
}

TEST(row_collectives, rows_arrive_in_the_order_of_ranks) {
    run_thread_ranks(kRanks, [&](Communicator& comm) {
        TestContext t;
        const auto rank = static_cast<double>(comm.rank());
        const auto rows = static_cast<size_t>(kRows[static_cast<size_t>(comm.rank())]);
        const Tensor x = from_vector(t.allocator, {kRows[static_cast<size_t>(comm.rank())], 1}, DType::f64,
                                     std::vector<double>(rows, rank));
        EXPECT_EQ(to_vector(all_gather_rows(t.ctx, comm, x, kRows)), (std::vector<double>{0, 0, 2, 2, 2}));
        const Tensor ones = from_vector(t.allocator, {5, 1}, DType::f64, {1, 2, 3, 4, 5 + rank});
        const std::vector<std::vector<double>> expected = {{3, 6}, {}, {9, 12, 18}};
        EXPECT_EQ(to_vector(reduce_scatter_rows(t.ctx, comm, ones, kRows)),
                  expected[static_cast<size_t>(comm.rank())]);
    });
}

} // namespace
} // namespace braid::testing
