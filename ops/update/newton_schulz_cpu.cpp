#include "ops/update/newton_schulz_kernels.h"

#include <algorithm>
#include <cmath>

#include "ops/basic/reduce_kernels.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"

namespace braid::ops::cpu {
namespace {

/// One matrix and its working memory.
template <typename T>
struct Iteration {
    int64_t rows, columns;
    T *x, *next;          // [rows, columns]
    T *gram, *polynomial; // [side, side], side the shorter of the two

    int64_t side() const { return std::min(rows, columns); }

    /// x <- a x + P x with P = b A + c A A and A = x xᵀ; of a tall matrix a x + x P with A = xᵀ x.
    void step(const NewtonSchulzStep& s) {
        const bool tall = rows > columns;
        const int64_t m = side(), depth = std::max(rows, columns), count = rows * columns;
        gemm<T>(tall, !tall, m, m, depth, 1, x, columns, x, columns, 0, gram, m);
        std::copy_n(gram, m * m, polynomial);
        gemm<T>(false, false, m, m, m, static_cast<T>(s.c), gram, m, gram, m, static_cast<T>(s.b), polynomial,
                m);
        std::copy_n(x, count, next);
        if (tall)
            gemm<T>(false, false, rows, columns, m, 1, x, columns, polynomial, m, static_cast<T>(s.a), next,
                    columns);
        else
            gemm<T>(false, false, rows, columns, m, 1, polynomial, m, x, columns, static_cast<T>(s.a), next,
                    columns);
        std::swap(x, next);
    }
};

} // namespace

void newton_schulz(Allocator& allocator, const Tensor& x, const std::vector<NewtonSchulzStep>& steps,
                   const Tensor& norms) {
    const int64_t count = x.dim(0), rows = x.dim(1), columns = x.dim(2), side = std::min(rows, columns);
    const auto norm = norms.span<double>();
    for (int64_t i = 0; i < count; ++i) {
        sum_of_squares(x.rows(i, 1), norms.rows(i, 1));
        norm[static_cast<size_t>(i)] = std::sqrt(norm[static_cast<size_t>(i)]);
    }
    // Small matrices side by side, each on one thread; large ones one by one on all threads.
    constexpr int64_t kLargeElements = 512 * 512;
    const bool side_by_side = count > 1 && num_threads() > 1 && rows * columns < kLargeElements;
    dispatch_float(x.dtype(), [&]<typename T>() {
        const int64_t square = ThreadScratch<T>::padded(side * side);
        const int64_t elements = 2 * square + ThreadScratch<T>::padded(rows * columns);
        const Tensor scratch =
            Tensor::empty(allocator, {side_by_side ? num_threads() : 1, elements}, x.dtype());
        const auto run = [&](int64_t i) {
            T* const matrix = x.data<T>() + i * rows * columns;
            T* const gram = scratch.data<T>() + (side_by_side ? thread_index() : 0) * elements;
            Iteration<T> iteration{rows, columns, matrix, gram + 2 * square, gram, gram + square};
            const T scale = static_cast<T>(1 / (norm[static_cast<size_t>(i)] + kNewtonSchulzEps));
            for (int64_t k = 0; k < rows * columns; ++k) matrix[k] *= scale;
            for (const NewtonSchulzStep& s : steps) iteration.step(s);
            if (iteration.x != matrix) std::copy_n(iteration.x, rows * columns, matrix);
        };
        if (side_by_side) {
#pragma omp parallel for schedule(dynamic)
            for (int64_t i = 0; i < count; ++i) run(i);
        } else {
            for (int64_t i = 0; i < count; ++i) run(i);
        }
    });
}

} // namespace braid::ops::cpu
