#include "ops/cpu/bf16_gemm.h"

#include <cmath>

#if BRAID_OPENMP
#include <omp.h>
#endif

#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

using ops::cpu::PackedMatrix;

/// One product: rows in groups, each with a matrix [out, in] of its own.
struct Problem {
    std::vector<int64_t> offsets;
    int64_t in, out;

    int64_t rows() const { return offsets.back(); }
    int64_t groups() const { return std::ssize(offsets) - 1; }
};

// Tiles that are whole and filled up, one panel of columns and two, empty groups, single elements.
const std::vector<Problem> kProblems = {{{0, 1}, 1, 1},     {{0, 7}, 5, 3},      {{0, 0}, 4, 4},
                                        {{0, 256}, 64, 96}, {{0, 300}, 33, 600}, {{0, 3, 3, 40}, 520, 24}};

/// Where oneDNN cannot run, it must not have been chosen either.
bool is_without_onednn() {
    if (ops::cpu::can_use_onednn()) return false;
    EXPECT_EQ(ops::cpu::bf16_gemm(), ops::cpu::Bf16Gemm::widened);
    EXPECT_THROW(ops::cpu::set_bf16_gemm(ops::cpu::Bf16Gemm::onednn), InternalError);
    return true;
}

Tensor strided(Allocator& allocator, int64_t rows, int64_t columns, std::string_view name) {
    return random_tensor(allocator, {rows, columns + 3}, DType::bf16, name).columns(2, columns);
}

/// [group of row r, element] sums in double: x W_gᵀ with `transposed`, else x W_g.
std::vector<double> plain_product(const Problem& p, const Tensor& x, const Tensor& w, bool transposed) {
    const auto a = to_vector(x), b = to_vector(w);
    const int64_t n = transposed ? p.out : p.in, k = transposed ? p.in : p.out;
    std::vector<double> y;
    for (int64_t g = 0; g < p.groups(); ++g)
        for (int64_t r = p.offsets[static_cast<size_t>(g)]; r < p.offsets[static_cast<size_t>(g) + 1]; ++r)
            for (int64_t j = 0; j < n; ++j) {
                double sum = 0;
                for (int64_t i = 0; i < k; ++i)
                    sum += a[static_cast<size_t>(r * k + i)] *
                           b[static_cast<size_t>((g * p.out + (transposed ? j : i)) * p.in +
                                                 (transposed ? i : j))];
                y.push_back(sum);
            }
    return y;
}

std::vector<PackedMatrix> pack(Allocator& allocator, const Problem& p, const Tensor& w, bool transposed) {
    std::vector<PackedMatrix> packed;
    for (int64_t g = 0; g < p.groups(); ++g)
        packed.emplace_back(allocator, transposed, transposed ? p.in : p.out, transposed ? p.out : p.in,
                            w.data<bf16>() + g * p.out * p.in, p.in);
    return packed;
}

TEST(bf16_gemm, products_match_sums_in_double) {
    if (is_without_onednn()) return;
    TestContext t;
    for (const Problem& p : kProblems)
        for (const bool transposed : {true, false}) {
            const Tensor w = random_tensor(t.allocator, {p.groups(), p.out, p.in}, DType::bf16, "w");
            const Tensor x = strided(t.allocator, p.rows(), transposed ? p.in : p.out, "x");
            const auto packed = pack(t.allocator, p, w, transposed);
            const int64_t n = transposed ? p.out : p.in;
            const Tensor expected =
                from_vector(t.allocator, {p.rows(), n}, DType::f64, plain_product(p, x, w, transposed));
            for (const DType dtype : {DType::f32, DType::bf16}) {
                const Tensor y = Tensor::empty(t.allocator, {p.rows(), n}, dtype);
                ops::cpu::multiply_packed(x, packed, p.offsets, y);
                // Up to 600 terms of size one in f32, whose rounding grows like the root of their number;
                // then one rounding to bf16.
                const double sums = 64 * std::numeric_limits<float>::epsilon();
                if (y.numel() > 0)
                    expect_close(y, expected, dtype == DType::bf16 ? 0x1p-8 + sums : sums,
                                 fmt::format("{} x {} x {}", p.rows(), p.out, p.in));
            }
        }
}

TEST(bf16_gemm, outer_products_are_added) {
    if (is_without_onednn()) return;
    TestContext t;
    for (const Problem& p : kProblems) {
        const Tensor dy = strided(t.allocator, p.rows(), p.out, "dy"),
                     x = strided(t.allocator, p.rows(), p.in, "x");
        const Tensor dw = random_tensor(t.allocator, {p.groups(), p.out, p.in}, DType::f32, "dw");
        auto expected = to_vector(dw);
        const auto a = to_vector(dy), b = to_vector(x);
        for (int64_t g = 0; g < p.groups(); ++g)
            for (int64_t r = p.offsets[static_cast<size_t>(g)]; r < p.offsets[static_cast<size_t>(g) + 1];
                 ++r)
                for (int64_t i = 0; i < p.out; ++i)
                    for (int64_t j = 0; j < p.in; ++j)
                        expected[static_cast<size_t>((g * p.out + i) * p.in + j)] +=
                            a[static_cast<size_t>(r * p.out + i)] * b[static_cast<size_t>(r * p.in + j)];
        ops::cpu::add_outer_products(dy, x, p.offsets, dw);
        expect_close(dw, from_vector(t.allocator, dw.shape(), DType::f64, expected),
                     64 * std::numeric_limits<float>::epsilon(),
                     fmt::format("{} x {} x {}", p.rows(), p.out, p.in));
    }
}

#if BRAID_OPENMP
TEST(bf16_gemm, leaves_the_number_of_threads_alone) {
    if (is_without_onednn()) return;
    TestContext t;
    const Problem& p = kProblems[3];
    const Tensor w = random_tensor(t.allocator, {1, p.out, p.in}, DType::bf16, "w");
    const Tensor y = Tensor::empty(t.allocator, {p.rows(), p.out}, DType::bf16);
    const int before = omp_get_max_threads();
    omp_set_num_threads(3);
    ops::cpu::multiply_packed(random_tensor(t.allocator, {p.rows(), p.in}, DType::bf16, "x"),
                              pack(t.allocator, p, w, true), p.offsets, y);
    EXPECT_EQ(omp_get_max_threads(), 3);
    omp_set_num_threads(before);
}
#endif

} // namespace
} // namespace braid::testing
