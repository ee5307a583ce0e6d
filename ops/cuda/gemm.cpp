#include "ops/cuda/gemm.h"

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>

#include "tensor/cuda/error.h"

namespace braid::ops::cuda {
namespace {

void expect_success(cublasStatus_t status, const char* call) {
    if (status != CUBLAS_STATUS_SUCCESS)
        throw Error(ExitCode::internal, fmt::format("{} failed: {}", call, cublasLtGetStatusString(status)));
}

/// Deletes what the library made.
template <auto destroy>
struct Destroy {
    template <typename T>
    void operator()(T* made) const {
        destroy(made);
    }
};
template <typename Handle, auto destroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<destroy>>;

using Library = Owned<cublasLtHandle_t, cublasLtDestroy>;
using Description = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

cudaDataType_t data_type(DType dtype) {
    check(is_floating(dtype), "gemm: a matrix of {}", name_of(dtype));
    return dtype == DType::f64 ? CUDA_R_64F : dtype == DType::f32 ? CUDA_R_32F : CUDA_R_16BF;
}

/// The library's matrices are column-major, so ours are their transposes there.
Layout make_layout(const Matrix& x, int64_t count) {
    cublasLtMatrixLayout_t made = nullptr;
    expect_success(cublasLtMatrixLayoutCreate(&made, data_type(x.dtype), static_cast<uint64_t>(x.columns),
                                              static_cast<uint64_t>(x.rows), std::max(x.ld, x.columns)),
                   "cublasLtMatrixLayoutCreate");
    Layout layout(made);
    const auto set = [&](cublasLtMatrixLayoutAttribute_t attribute, auto value) {
        expect_success(cublasLtMatrixLayoutSetAttribute(made, attribute, &value, sizeof value),
                       "cublasLtMatrixLayoutSetAttribute");
    };
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<int32_t>(count));
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, x.stride);
    return layout;
}

/// Of an address, in bytes, as far as the library looks.
uint32_t alignment(const void* data) {
    constexpr uintptr_t kMost = 256;
    const auto address = reinterpret_cast<uintptr_t>(data) | kMost;
    return static_cast<uint32_t>(address & (~address + 1));
}

/// One product in the library's terms. Its first factor is our second.
struct Product {
    bool transpose_a, transpose_b;
    Matrix a, b, c;
    bool reads_c;
    int64_t count;

    /// All that the choice of an algorithm depends on.
    auto key() const {
        std::array<int64_t, 22> key{transpose_a, transpose_b, reads_c, count};
        size_t next = 4;
        for (const Matrix* x : {&a, &b, &c})
            for (const int64_t number : {static_cast<int64_t>(x->dtype), x->rows, x->columns, x->ld,
                                         x->stride, static_cast<int64_t>(alignment(x->data))})
                key[next++] = number;
        return key;
    }
};

/// A product and how the library makes it.
class Plan {
  public:
    Plan(cublasLtHandle_t library, const Product& product)
        : first_(make_layout(product.b, product.count)),
          second_(make_layout(product.a, product.count)),
          result_(make_layout(product.c, product.count)) {
        describe(product);
        choose(library, product);
    }

    void run(cublasLtHandle_t library, const Tensor& place, double alpha, const Product& product,
             double beta) const {
        const Tensor workspace =
            Tensor::empty(place.allocator(), {static_cast<int64_t>(choice_.workspaceSize)}, DType::u8);
        const auto stream = static_cast<cudaStream_t>(place.allocator().stream().native());
        const auto multiply = [&](auto alpha, auto beta) {
            expect_success(cublasLtMatmul(library, description_.get(), &alpha, product.b.data, first_.get(),
                                          product.a.data, second_.get(), &beta, product.c.data, result_.get(),
                                          product.c.data, result_.get(), &choice_.algo, workspace.raw_data(),
                                          choice_.workspaceSize, stream),
                           "cublasLtMatmul");
        };
        if (product.a.dtype == DType::f64) return multiply(alpha, beta);
        multiply(static_cast<float>(alpha), static_cast<float>(beta));
    }

  private:
    void describe(const Product& product) {
        const bool wide = product.a.dtype == DType::f64;
        cublasLtMatmulDesc_t made = nullptr;
        expect_success(cublasLtMatmulDescCreate(&made, wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                                wide ? CUDA_R_64F : CUDA_R_32F),
                       "cublasLtMatmulDescCreate");
        description_.reset(made);
        const auto set = [&](cublasLtMatmulDescAttributes_t attribute, bool transpose) {
            const cublasOperation_t operation = transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
            expect_success(cublasLtMatmulDescSetAttribute(made, attribute, &operation, sizeof operation),
                           "cublasLtMatmulDescSetAttribute");
        };
        set(CUBLASLT_MATMUL_DESC_TRANSA, product.transpose_b);
        set(CUBLASLT_MATMUL_DESC_TRANSB, product.transpose_a);
    }

    void choose(cublasLtHandle_t library, const Product& product) {
        cublasLtMatmulPreference_t made = nullptr;
        expect_success(cublasLtMatmulPreferenceCreate(&made), "cublasLtMatmulPreferenceCreate");
        const Preference preference(made);
        const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
            expect_success(cublasLtMatmulPreferenceSetAttribute(made, attribute, &value, sizeof value),
                           "cublasLtMatmulPreferenceSetAttribute");
        };
        constexpr uint64_t kWorkspaceBytes = 32 << 20; // what NVIDIA recommends for Hopper
        set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
        // Parts of a sum are added in order and in the type of the sum: neither with atomics in place, nor
        // rounded to bf16 before.
        set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
            static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(product.b.data));
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(product.a.data));
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(product.c.data));
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(product.c.data));
        int found = 0;
        const cublasStatus_t status =
            cublasLtMatmulAlgoGetHeuristic(library, description_.get(), first_.get(), second_.get(),
                                           result_.get(), result_.get(), made, 1, &choice_, &found);
        const Matrix &a = product.a, &b = product.b, &c = product.c;
        check(status == CUBLAS_STATUS_SUCCESS && found == 1,
              "cuBLASLt has no way to multiply {} [{}, {}] by {} [{}, {}] into {} [{}, {}]: {}",
              name_of(a.dtype), a.rows, a.columns, name_of(b.dtype), b.rows, b.columns, name_of(c.dtype),
              c.rows, c.columns, cublasLtGetStatusString(status));
    }

    Layout first_, second_, result_;
    Description description_;
    cublasLtMatmulHeuristicResult_t choice_{};
};

/// The library's handle for one device, and the products it has been asked for. Of each thread, so that ranks
/// that are threads share nothing.
class Multiplier {
  public:
    static Multiplier& of(Device device) {
        thread_local std::map<Device, Multiplier> all;
        return all[device];
    }

    void multiply(const Tensor& place, double alpha, const Product& product, double beta) {
        if (!library_) {
            cublasLtHandle_t made = nullptr;
            expect_success(cublasLtCreate(&made), "cublasLtCreate");
            library_.reset(made);
        }
        const auto key = product.key();
        auto found = plans_.find(key);
        if (found == plans_.end()) found = plans_.try_emplace(key, library_.get(), product).first;
        found->second.run(library_.get(), place, alpha, product, beta);
    }

  private:
    Library library_;
    std::map<decltype(Product{}.key()), Plan> plans_;
};

/// What a sum without terms leaves.
void multiply_by(double beta, const Tensor& place, const Matrix& c, int64_t count) {
    check(beta == 0 || beta == 1, "gemm: a product without terms and beta {}", beta);
    if (beta == 1) return;
    const size_t size = size_of(c.dtype);
    for (int64_t i = 0; i < count; ++i)
        braid::cuda::expect_success(
            cudaMemset2DAsync(static_cast<std::byte*>(c.data) + static_cast<size_t>(i * c.stride) * size,
                              static_cast<size_t>(std::max(c.ld, c.columns)) * size, 0,
                              static_cast<size_t>(c.columns) * size, static_cast<size_t>(c.rows),
                              static_cast<cudaStream_t>(place.allocator().stream().native())),
            "cudaMemset2DAsync");
}

} // namespace

int64_t cublaslt_version() {
    return static_cast<int64_t>(cublasLtGetVersion());
}

Matrix matrix_of(const Tensor& x) {
    check(x.rank() == 2, "gemm: a tensor of shape {} is no matrix", to_string(x.shape()));
    return {x.raw_data(), x.dtype(), x.dim(0), x.dim(1), x.row_stride()};
}

Matrix matrices_of(const Tensor& x) {
    check(x.rank() == 3, "gemm: a tensor of shape {} is not one of matrices", to_string(x.shape()));
    return {x.raw_data(), x.dtype(), x.dim(1), x.dim(2), x.dim(2), x.row_stride()};
}

void gemm(const Tensor& place, bool transpose_a, bool transpose_b, double alpha, const Matrix& a,
          const Matrix& b, double beta, const Matrix& c, int64_t count) {
    const int64_t m = transpose_a ? a.columns : a.rows, k = transpose_a ? a.rows : a.columns,
                  n = transpose_b ? b.rows : b.columns;
    check(k == (transpose_b ? b.columns : b.rows) && c.rows == m && c.columns == n,
          "gemm: [{}, {}]{} by [{}, {}]{} into [{}, {}]", a.rows, a.columns, transpose_a ? " transposed" : "",
          b.rows, b.columns, transpose_b ? " transposed" : "", c.rows, c.columns);
    check(a.dtype == b.dtype && (c.dtype == a.dtype || c.dtype == accumulation_dtype(a.dtype)),
          "gemm: {} by {} into {}", name_of(a.dtype), name_of(b.dtype), name_of(c.dtype));
    if (m == 0 || n == 0 || count == 0) return;
    if (k == 0) return multiply_by(beta, place, c, count);
    Multiplier::of(place.device())
        .multiply(place, alpha, {transpose_a, transpose_b, a, b, c, beta != 0, count}, beta);
}

} // namespace braid::ops::cuda
