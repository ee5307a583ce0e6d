#include <cublasLt.h>

#include <cblas.h>

#include <algorithm>
#include <vector>

#include "base/dtype.h"

struct cublasLtContext {};
struct cublasLtMatmulDescOpaque_t {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    bool transpose_a = false, transpose_b = false;
};
struct cublasLtMatrixLayoutOpaque_t {
    cudaDataType_t type;
    int64_t rows, columns, ld;
    int64_t count = 1, stride = 0;
};
struct cublasLtMatmulPreferenceOpaque_t {
    uint64_t workspace_bytes = 0;
    uint32_t schemes = 7;
    uint32_t alignment[4] = {256, 256, 256, 256};
};

namespace {

using Layout = cublasLtMatrixLayoutOpaque_t;
using braid::bf16;

constexpr size_t kWorkspaceBytes = 1 << 10; // asked for, and held against what comes

size_t size_of(cudaDataType_t type) {
    return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2;
}

bool fits(const cublasLtMatmulDescOpaque_t& desc, const Layout& a, const Layout& b, const Layout& c) {
    const int64_t m = desc.transpose_a ? a.columns : a.rows, k = desc.transpose_a ? a.rows : a.columns,
                  n = desc.transpose_b ? b.rows : b.columns;
    const bool wide = a.type == CUDA_R_64F;
    return a.type == b.type && (c.type == a.type || (a.type == CUDA_R_16BF && c.type == CUDA_R_32F)) &&
           desc.compute == (wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F) &&
           desc.scale == (wide ? CUDA_R_64F : CUDA_R_32F) && c.rows == m && c.columns == n && m > 0 &&
           n > 0 && k > 0 && k == (desc.transpose_b ? b.columns : b.rows) && a.count == c.count &&
           b.count == c.count && (c.count == 1 || c.stride != 0);
}

/// Column-major, as stored, in packed columns.
template <typename T, typename Stored>
std::vector<T> widened(const Layout& layout, const Stored* x) {
    std::vector<T> wide(static_cast<size_t>(layout.rows * layout.columns));
    for (int64_t j = 0; j < layout.columns; ++j)
        for (int64_t i = 0; i < layout.rows; ++i)
            wide[static_cast<size_t>(j * layout.rows + i)] = static_cast<T>(x[j * layout.ld + i]);
    return wide;
}

template <typename T>
std::vector<T> read(const Layout& layout, const void* data, int64_t index) {
    const auto* from = static_cast<const std::byte*>(data) +
                       static_cast<size_t>(index * layout.stride) * size_of(layout.type);
    if (layout.type == CUDA_R_64F) return widened<T>(layout, reinterpret_cast<const double*>(from));
    if (layout.type == CUDA_R_32F) return widened<T>(layout, reinterpret_cast<const float*>(from));
    if constexpr (std::is_same_v<T, float>) return widened<T>(layout, reinterpret_cast<const bf16*>(from));
    return {};
}

template <typename T>
void write(const Layout& layout, const std::vector<T>& values, void* data, int64_t index) {
    auto* to =
        static_cast<std::byte*>(data) + static_cast<size_t>(index * layout.stride) * size_of(layout.type);
    for (int64_t j = 0; j < layout.columns; ++j)
        for (int64_t i = 0; i < layout.rows; ++i) {
            const T value = values[static_cast<size_t>(j * layout.rows + i)];
            if (layout.type == CUDA_R_16BF)
                reinterpret_cast<bf16*>(to)[j * layout.ld + i] = bf16(static_cast<float>(value));
            else
                reinterpret_cast<T*>(to)[j * layout.ld + i] = value;
        }
}

/// In f32 or f64, with sums in the order of OpenBLAS.
template <typename T>
void multiply(const cublasLtMatmulDescOpaque_t& desc, T alpha, const Layout& a, const void* a_data,
              const Layout& b, const void* b_data, T beta, const Layout& c, void* c_data) {
    const auto transposed = [](bool yes) { return yes ? CblasTrans : CblasNoTrans; };
    const auto m = static_cast<int>(c.rows), n = static_cast<int>(c.columns),
               k = static_cast<int>(desc.transpose_a ? a.rows : a.columns);
    for (int64_t i = 0; i < c.count; ++i) {
        const std::vector<T> left = read<T>(a, a_data, i), right = read<T>(b, b_data, i);
        std::vector<T> result(static_cast<size_t>(c.rows * c.columns));
        if (beta != 0) result = read<T>(c, c_data, i);
        if constexpr (sizeof(T) == 8)
            cblas_dgemm(CblasColMajor, transposed(desc.transpose_a), transposed(desc.transpose_b), m, n, k,
                        alpha, left.data(), static_cast<int>(a.rows), right.data(), static_cast<int>(b.rows),
                        beta, result.data(), m);
        else
            cblas_sgemm(CblasColMajor, transposed(desc.transpose_a), transposed(desc.transpose_b), m, n, k,
                        alpha, left.data(), static_cast<int>(a.rows), right.data(), static_cast<int>(b.rows),
                        beta, result.data(), m);
        write(c, result, c_data, i);
    }
}

bool is_aligned(const void* data, uint64_t alignments, int index) {
    const uint64_t bytes = alignments >> (16 * index) & 0xffff;
    return reinterpret_cast<uintptr_t>(data) % bytes == 0;
}

} // namespace

const char* cublasLtGetStatusString(cublasStatus_t status) {
    return status == CUBLAS_STATUS_SUCCESS         ? "CUBLAS_STATUS_SUCCESS"
           : status == CUBLAS_STATUS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE"
                                                   : "CUBLAS_STATUS_NOT_SUPPORTED";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
    *handle = new cublasLtContext;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    *desc = new cublasLtMatmulDescOpaque_t{compute, scale};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    delete desc;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              size_t bytes) {
    if (bytes != sizeof(int32_t)) return CUBLAS_STATUS_INVALID_VALUE;
    const bool transpose = *static_cast<const cublasOperation_t*>(value) == CUBLAS_OP_T;
    (attribute == CUBLASLT_MATMUL_DESC_TRANSA ? desc->transpose_a : desc->transpose_b) = transpose;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, uint64_t rows,
                                          uint64_t columns, int64_t ld) {
    if (ld < static_cast<int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
    *layout = new Layout{type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), ld};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
    const bool counts = attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
    if (bytes != (counts ? sizeof(int32_t) : sizeof(int64_t))) return CUBLAS_STATUS_INVALID_VALUE;
    if (counts)
        layout->count = *static_cast<const int32_t*>(value);
    else
        layout->stride = *static_cast<const int64_t*>(value);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
    *preference = new cublasLtMatmulPreferenceOpaque_t;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) {
        if (bytes != sizeof(uint64_t)) return CUBLAS_STATUS_INVALID_VALUE;
        preference->workspace_bytes = *static_cast<const uint64_t*>(value);
        return CUBLAS_STATUS_SUCCESS;
    }
    if (bytes != sizeof(uint32_t)) return CUBLAS_STATUS_INVALID_VALUE;
    const uint32_t number = *static_cast<const uint32_t*>(value);
    if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
        preference->schemes = number;
    else
        preference->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES] = number;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
    *found = 0;
    if (requested < 1 || c != d || !fits(*desc, *a, *b, *c)) return CUBLAS_STATUS_INVALID_VALUE;
    if (preference->workspace_bytes < kWorkspaceBytes) return CUBLAS_STATUS_NOT_SUPPORTED;
    uint64_t alignments = 0;
    for (int i = 0; i < 4; ++i) alignments |= uint64_t{preference->alignment[i]} << (16 * i);
    results[0] = {{alignments}, kWorkspaceBytes, CUBLAS_STATUS_SUCCESS, 1, {}};
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t* algo, void* workspace,
                              size_t workspace_bytes, cudaStream_t) {
    if (c != d || !workspace || workspace_bytes < kWorkspaceBytes ||
        !fits(*desc, *a_layout, *b_layout, *c_layout) || !is_aligned(a, algo->alignments, 0) ||
        !is_aligned(b, algo->alignments, 1) || !is_aligned(c, algo->alignments, 2) ||
        !is_aligned(d, algo->alignments, 3))
        return CUBLAS_STATUS_INVALID_VALUE;
    const cuda_emulation::DeviceAccess access;
    if (desc->scale == CUDA_R_64F)
        multiply(*desc, *static_cast<const double*>(alpha), *a_layout, a, *b_layout, b,
                 *static_cast<const double*>(beta), *c_layout, d);
    else
        multiply(*desc, *static_cast<const float*>(alpha), *a_layout, a, *b_layout, b,
                 *static_cast<const float*>(beta), *c_layout, d);
    return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion() {
    return 120400;
}
