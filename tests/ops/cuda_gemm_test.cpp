#include "tensor/memory/build_cuda.h"

#if BRAID_CUDA
#include "ops/cuda/gemm.h"

#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

using ops::cuda::Matrix;

/// One product, its matrices in the middle of wider ones with rows and batches apart.
struct GemmCase {
    int64_t m, n, k, count;
    bool transpose_a, transpose_b;
    double alpha, beta;
    int64_t gap; // columns that belong to nobody, beside each matrix

    std::string text() const {
        return fmt::format("{} x {}{} by {}{} plus {} C, gap {}", count, m, transpose_a ? "T" : "", n,
                           transpose_b ? "T" : "", beta, gap);
    }
};

struct Operand {
    Tensor host;
    int64_t rows, columns, ld;

    Operand(Allocator& allocator, DType dtype, int64_t count, int64_t rows, int64_t columns, int64_t gap,
            std::string_view name)
        : host(converted(allocator, random_tensor(allocator, {count, rows, columns + gap}, DType::bf16, name),
                         dtype)),
          rows(rows),
          columns(columns),
          ld(columns + gap) {}
    double at(const std::vector<double>& values, bool transposed, int64_t i, int64_t row,
              int64_t column) const {
        if (transposed) std::swap(row, column);
        return values[static_cast<size_t>((i * rows + row) * ld + column)];
    }
    Matrix on(const Tensor& gpu) const { return {gpu.raw_data(), gpu.dtype(), rows, columns, ld, rows * ld}; }
};

/// All of C's memory as sums written out give it.
std::vector<double> written_out(const GemmCase& c, const Operand& a, const Operand& b, const Operand& y) {
    const auto left = to_vector(a.host), right = to_vector(b.host);
    auto result = to_vector(y.host);
    for (int64_t i = 0; i < c.count; ++i)
        for (int64_t row = 0; row < c.m; ++row)
            for (int64_t column = 0; column < c.n; ++column) {
                double sum = 0;
                for (int64_t p = 0; p < c.k; ++p)
                    sum += a.at(left, c.transpose_a, i, row, p) * b.at(right, c.transpose_b, i, p, column);
                double& to = result[static_cast<size_t>((i * c.m + row) * y.ld + column)];
                to = c.alpha * sum + (c.beta != 0 ? c.beta * to : 0);
            }
    return result;
}

void check_gemm(const GemmCase& c, DType in, DType out, double bound) {
    TestContext t(test_device());
    const Operand a(t.allocator, in, c.count, c.transpose_a ? c.k : c.m, c.transpose_a ? c.m : c.k, c.gap,
                    "a"),
        b(t.allocator, in, c.count, c.transpose_b ? c.n : c.k, c.transpose_b ? c.k : c.n, c.gap, "b"),
        y(t.allocator, out, c.count, c.m, c.n, c.gap, "c");
    const Tensor left = to_device(*t.ctx.allocator, a.host), right = to_device(*t.ctx.allocator, b.host),
                 result = to_device(*t.ctx.allocator, y.host);
    ops::cuda::gemm(result, c.transpose_a, c.transpose_b, c.alpha, a.on(left), b.on(right), c.beta,
                    y.on(result), c.count);
    const Tensor found = Tensor::empty(t.allocator, result.shape(), out);
    copy(result, found);
    const Tensor expected = from_vector(t.allocator, result.shape(), DType::f64, written_out(c, a, b, y));
    expect_close(found, expected, bound, c.text() + " " + std::string(name_of(in)));
}

TEST(cuda_gemm, matches_sums_written_out) {
    if (test_device().kind != DeviceKind::cuda) GTEST_SKIP() << "not on a GPU";
    for (const GemmCase& c : {GemmCase{1, 1, 1, 1, false, false, 1, 0, 0},
                              {5, 7, 3, 1, false, true, 2, 0, 0},
                              {5, 7, 3, 1, true, false, 1, 1, 3},
                              {33, 20, 40, 3, false, false, -1, 0.5, 1},
                              {16, 32, 24, 4, true, true, 1, 0, 8},
                              {4, 6, 0, 2, false, true, 1, 0, 1},
                              {4, 6, 0, 2, false, true, 1, 1, 0},
                              {0, 6, 3, 1, false, true, 1, 0, 0}}) {
        // Inputs are the same for all types; sums of up to 40 products of size one, of which the largest of
        // all is about as large as the root of the terms.
        check_gemm(c, DType::f64, DType::f64, 1e-14);
        check_gemm(c, DType::f32, DType::f32, 1e-6);
        check_gemm(c, DType::bf16, DType::f32, 1e-6);
        check_gemm(c, DType::bf16, DType::bf16, 0x1p-8);
    }
}

TEST(cuda_gemm, one_matrix_for_a_whole_batch) {
    if (test_device().kind != DeviceKind::cuda) GTEST_SKIP() << "not on a GPU";
    TestContext t(test_device());
    const Tensor a = random_tensor(t.allocator, {3, 4, 5}, DType::f64, "a"),
                 b = random_tensor(t.allocator, {5, 2}, DType::f64, "b"),
                 y = Tensor::empty(*t.ctx.allocator, {3, 4, 2}, DType::f64),
                 rows = Tensor::empty(*t.ctx.allocator, {12, 2}, DType::f64);
    const Tensor left = to_device(*t.ctx.allocator, a), right = to_device(*t.ctx.allocator, b);
    using namespace ops::cuda;
    gemm(y, false, false, 1, matrices_of(left), matrix_of(right), 0, matrices_of(y), 3);
    gemm(rows, false, false, 1, matrix_of(left.view({12, 5})), matrix_of(right), 0, matrix_of(rows));
    const Tensor found = Tensor::empty(t.allocator, {12, 2}, DType::f64),
                 expected = Tensor::empty(t.allocator, {12, 2}, DType::f64);
    copy(y, found);
    copy(rows, expected);
    expect_close(found, expected, 1e-15, "batch");
}

TEST(cuda_gemm, refuses_what_does_not_fit) {
    if (test_device().kind != DeviceKind::cuda) GTEST_SKIP() << "not on a GPU";
    TestContext t(test_device());
    const auto make = [&](int64_t rows, int64_t columns, DType dtype) {
        return Tensor::empty(*t.ctx.allocator, {rows, columns}, dtype);
    };
    const auto run = [&](const Tensor& a, const Tensor& b, const Tensor& c) {
        using namespace ops::cuda;
        gemm(c, false, false, 1, matrix_of(a), matrix_of(b), 0, matrix_of(c));
    };
    const Tensor a = make(2, 3, DType::f32);
    EXPECT_THROW(run(a, make(2, 4, DType::f32), make(2, 4, DType::f32)), InternalError);
    EXPECT_THROW(run(a, make(3, 4, DType::f32), make(4, 2, DType::f32)), InternalError);
    EXPECT_THROW(run(a, make(3, 4, DType::bf16), make(2, 4, DType::f32)), InternalError);
    EXPECT_THROW(run(a, make(3, 4, DType::f32), make(2, 4, DType::bf16)), InternalError);
}

} // namespace
} // namespace braid::testing
#endif
