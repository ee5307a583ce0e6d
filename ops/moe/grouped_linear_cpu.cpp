#include "ops/moe/grouped_linear_kernels.h"

#include <algorithm>
#include <vector>

#include "ops/cpu/gemm.h"
#include "ops/cpu/tile_gemm.h"
#include "ops/cpu/transpose.h"
#include "ops/cpu/weights.h"

namespace braid::ops::cpu {
namespace {

// A group may hold most of the rows or a few. Its work is cut into blocks of at most this size, small enough
// to even out over threads and large enough to keep a GEMM's rate.
constexpr int64_t kBlockRows = 256, kBlockColumns = 512;

/// Rows and columns of one group's result that one thread makes.
struct Block {
    int64_t group, first_row, rows, first_column, columns;
    int64_t depth; // of the sums, to weigh the block
};

void cut(int64_t group, int64_t first_row, int64_t rows, int64_t columns, int64_t depth,
         std::vector<Block>& out) {
    for (int64_t i = 0; i < rows; i += kBlockRows)
        for (int64_t j = 0; j < columns; j += kBlockColumns)
            out.push_back({group, first_row + i, std::min(kBlockRows, rows - i), j,
                           std::min(kBlockColumns, columns - j), depth});
}

/// body(block) for all of them on all threads, the largest first so that none is left alone at the end.
template <typename Body>
void run_blocks(std::vector<Block> blocks, const Body& body) {
    std::stable_sort(blocks.begin(), blocks.end(), [](const Block& a, const Block& b) {
        return a.rows * a.columns * a.depth > b.rows * b.columns * b.depth;
    });
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < blocks.size(); ++i) body(blocks[i]);
}

/// The blocks of a result [R, columns] whose rows fall into groups.
std::vector<Block> row_blocks(const Tensor& offsets, int64_t columns, int64_t depth) {
    std::vector<Block> blocks;
    const auto offset = offsets.span<int64_t>();
    for (size_t e = 0; e + 1 < offset.size(); ++e)
        cut(static_cast<int64_t>(e), offset[e], offset[e + 1] - offset[e], columns, depth, blocks);
    return blocks;
}

/// y = x wᵀ for the rows of one group. A panel of w at a time is transposed into the first level cache, where
/// tile_gemm reads it: 1.2 times the rate of one BLAS call for 128 rows. For a few rows that costs more than
/// it brings.
template <typename T>
void times_transposed(int64_t rows, int64_t out, int64_t in, const T* x, int64_t ldx, const T* w, T* y,
                      int64_t ldy) {
    constexpr int64_t kMinRows = 24, kWidth = 256 / sizeof(T), kDepth = 128;
    if (rows < kMinRows) return gemm<T>(false, true, rows, out, in, 1, x, ldx, w, in, 0, y, ldy);
    alignas(64) T panel[kDepth * kWidth];
    for (int64_t j = 0; j < out; j += kWidth)
        for (int64_t p = 0; p < in; p += kDepth) {
            const int64_t width = std::min(kWidth, out - j), depth = std::min(kDepth, in - p);
            transpose_tile(width, depth, w + j * in + p, in, panel, kWidth);
            tile_gemm(rows, width, depth, x + p, ldx, int64_t{1}, panel, kWidth, y + j, ldy, p > 0);
        }
}

} // namespace

void grouped_linear(const Tensor& x, const Parameter& w, const Tensor& offsets, const Tensor& y) {
    if (uses_onednn(x)) return multiply_packed(x, packed_transposed_weights(w), offsets.span<int64_t>(), y);
    const int64_t out = w.shape()[1], in = w.shape()[2];
    const Tensor rows = widened(x), weights = widened_weights(w);
    const Rounded result(y);
    dispatch_float(rows.dtype(), [&]<typename T>() {
        run_blocks(row_blocks(offsets, out, in), [&](const Block& p) {
            times_transposed(p.rows, p.columns, in, rows.data<T>() + p.first_row * rows.row_stride(),
                             rows.row_stride(), weights.data<T>() + (p.group * out + p.first_column) * in,
                             result.data<T>() + p.first_row * out + p.first_column, out);
        });
    });
}

void grouped_linear_data_gradient(const Tensor& dy, const Parameter& w, const Tensor& offsets,
                                  const Tensor& dx) {
    if (uses_onednn(dy)) return multiply_packed(dy, packed_weights(w), offsets.span<int64_t>(), dx);
    const int64_t out = w.shape()[1], in = w.shape()[2];
    const Tensor grad = widened(dy), weights = widened_weights(w);
    const Rounded result(dx);
    dispatch_float(grad.dtype(), [&]<typename T>() {
        run_blocks(row_blocks(offsets, in, out), [&](const Block& p) {
            tile_gemm(p.rows, p.columns, out, grad.data<T>() + p.first_row * grad.row_stride(),
                      grad.row_stride(), int64_t{1}, weights.data<T>() + p.group * out * in + p.first_column,
                      in, result.data<T>() + p.first_row * in + p.first_column, in, false);
        });
    });
}

void grouped_linear_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& offsets,
                                    const Tensor& dw) {
    if (uses_onednn(x)) return add_outer_products(dy, x, offsets.span<int64_t>(), dw);
    const int64_t out = dw.dim(1), in = dw.dim(2);
    std::vector<Block> blocks;
    const auto offset = offsets.span<int64_t>();
    for (size_t e = 0; e + 1 < offset.size(); ++e)
        if (offset[e + 1] > offset[e])
            cut(static_cast<int64_t>(e), 0, out, in, offset[e + 1] - offset[e], blocks);
    const Tensor grad = widened(dy), rows = widened(x);
    dispatch_float(dw.dtype(), [&]<typename T>() {
        run_blocks(std::move(blocks), [&](const Block& p) {
            const int64_t first = offset[static_cast<size_t>(p.group)];
            gemm<T>(true, false, p.rows, p.columns, p.depth, 1,
                    grad.data<T>() + first * grad.row_stride() + p.first_row, grad.row_stride(),
                    rows.data<T>() + first * rows.row_stride() + p.first_column, rows.row_stride(), 1,
                    dw.data<T>() + (p.group * out + p.first_row) * in + p.first_column, in);
        });
    });
}

} // namespace braid::ops::cpu
