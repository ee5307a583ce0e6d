#include "ops/update/newton_schulz_kernels.h"

#include <algorithm>
#include <utility>

#include "ops/cuda/gemm.h"
#include "tensor/cuda/for_each.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

constexpr int64_t kSummedElements = 1 << 16;   // of a matrix, by one block
constexpr int64_t kElementsUnderWay = 1 << 26; // of the matrices iterated side by side

/// A block for each kSummedElements of each matrix: partial [matrix, part] = the sum of their squares.
template <typename T>
__global__ void partial_squares_kernel(const T* x, int64_t elements, int64_t parts, double* partial) {
    const int64_t matrix = blockIdx.x / parts, first = blockIdx.x % parts * kSummedElements;
    const int64_t last = first + kSummedElements < elements ? first + kSummedElements : elements;
    x += matrix * elements;
    double sum = 0;
    for (int64_t i = first + threadIdx.x; i < last; i += blockDim.x)
        sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// norms [n] = the Frobenius norms of x [n, rows, columns].
template <typename T>
void find_norms(Allocator& allocator, const Tensor& x, const Tensor& norms) {
    const int64_t count = x.dim(0), elements = x.dim(1) * x.dim(2),
                  parts = (elements + kSummedElements - 1) / kSummedElements;
    const Tensor partial = Tensor::empty(allocator, {count, parts}, DType::f64);
    launch(partial_squares_kernel<T>, dim3(static_cast<unsigned>(count * parts)), kThreads, 0, partial,
           x.data<T>(), elements, parts, partial.data<double>());
    const double* sums = partial.data<double>();
    double* norm = norms.data<double>();
    for_each(norms, count, [=] __device__(int64_t i) {
        double total = 0;
        for (int64_t part = 0; part < parts; ++part) total += sums[i * parts + part];
        norm[i] = sqrt(total);
    });
}

/// x [n, rows, columns] of each matrix divided by its norm.
template <typename T>
void normalize(const Tensor& x, const Tensor& norms) {
    T* value = x.data<T>();
    const double* norm = norms.data<double>();
    const int64_t elements = x.dim(1) * x.dim(2);
    for_each(x, x.numel(), [=] __device__(int64_t i) {
        value[i] *= static_cast<T>(1 / (norm[i / elements] + kNewtonSchulzEps));
    });
}

/// Takes the steps for x [n, rows, columns]: x <- a x + P x with P = b A + c A A and A = x xᵀ; of tall
/// matrices a x + x P with A = xᵀ x.
void iterate(Allocator& allocator, const Tensor& matrices, const std::vector<NewtonSchulzStep>& steps) {
    const int64_t count = matrices.dim(0), rows = matrices.dim(1), columns = matrices.dim(2),
                  side = std::min(rows, columns);
    const bool tall = rows > columns;
    const Tensor gram = Tensor::empty(allocator, {count, side, side}, matrices.dtype()),
                 polynomial = Tensor::empty(allocator, gram.shape(), gram.dtype());
    Tensor x = matrices, next = Tensor::empty(allocator, x.shape(), x.dtype());
    const auto multiply = [&](bool transpose_a, bool transpose_b, double alpha, const Tensor& a,
                              const Tensor& b, double beta, const Tensor& c) {
        gemm(c, transpose_a, transpose_b, alpha, matrices_of(a), matrices_of(b), beta, matrices_of(c), count);
    };
    for (const NewtonSchulzStep& step : steps) {
        multiply(tall, !tall, 1, x, x, 0, gram);
        copy(gram, polynomial);
        multiply(false, false, step.c, gram, gram, step.b, polynomial);
        copy(x, next);
        multiply(false, false, 1, tall ? x : polynomial, tall ? polynomial : x, step.a, next);
        std::swap(x, next);
    }
    if (x.raw_data() != matrices.raw_data()) copy(x, matrices);
}

} // namespace

void newton_schulz(Allocator& allocator, const Tensor& x, const std::vector<NewtonSchulzStep>& steps,
                   const Tensor& norms) {
    const int64_t count = x.dim(0), elements = x.dim(1) * x.dim(2);
    dispatch_float(x.dtype(), [&]<typename T>() {
        find_norms<T>(allocator, x, norms);
        normalize<T>(x, norms);
    });
    if (elements == 0) return;
    const int64_t under_way = std::max<int64_t>(1, kElementsUnderWay / elements);
    for (int64_t first = 0; first < count; first += under_way)
        iterate(allocator, x.rows(first, std::min(under_way, count - first)), steps);
}

} // namespace braid::ops::cuda
