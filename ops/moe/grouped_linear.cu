#include "ops/moe/grouped_linear_kernels.h"

#include "ops/cuda/tensor_core_product.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

constexpr unsigned kWholeWarp = 0xffffffffu;

template <typename T, bool kDeepA, bool kDeepB>
using ProductOf = std::conditional_t<std::is_same_v<T, bf16>, TensorCoreProduct<kDeepA, kDeepB>,
                                     TileProduct<T, kDeepA, kDeepB>>;

/// The rows of one group, and the first of them that a tile takes.
struct GroupTile {
    int64_t group, begin, end, row;
};

/// Tile number `tile` of all groups' rows cut into tiles, a group after the other; group -1 if there are not
/// so many. Offsets are known here alone, so that the host need not wait for them. Each warp looks at 32
/// groups at a time.
__device__ __forceinline__ GroupTile find_tile(const int64_t* offsets, int64_t groups, int64_t tile,
                                               int64_t tile_rows) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int64_t first = 0; first < groups; first += 32) {
        const int64_t group = first + lane;
        const int64_t begin = group < groups ? offsets[group] : 0,
                      end = group < groups ? offsets[group + 1] : 0;
        int64_t last = (end - begin + tile_rows - 1) / tile_rows; // of the tiles up to this group, exclusive
        for (int delta = 1; delta < 32; delta *= 2) {
            const int64_t before = __shfl_up_sync(kWholeWarp, last, static_cast<unsigned>(delta));
            if (lane >= delta) last += before;
        }
        // The first group whose tiles go beyond this one holds it.
        const int holder = 32 - __popc(__ballot_sync(kWholeWarp, tile < last));
        const int64_t all = __shfl_sync(kWholeWarp, last, 31);
        if (holder < 32) {
            const int64_t held_begin = __shfl_sync(kWholeWarp, begin, holder),
                          held_end = __shfl_sync(kWholeWarp, end, holder),
                          held_last = __shfl_sync(kWholeWarp, last, holder);
            const int64_t tiles = (held_end - held_begin + tile_rows - 1) / tile_rows;
            return {first + holder, held_begin, held_end, (tile - (held_last - tiles)) * tile_rows};
        }
        tile -= all;
    }
    return {-1, 0, 0, 0};
}

/// y[r] = x[r] B_e for the rows r of each group e, B_e being w_eᵀ with w_e [columns, depth] (kDeepW), or w_e
/// [depth, columns].
template <typename T, bool kDeepW>
__global__ void __launch_bounds__(kThreads, 2)
    rows_kernel(const T* x, int64_t stride, const T* w, const int64_t* offsets, int64_t groups,
                int64_t columns, int64_t depth, int64_t column_tiles, T* y) {
    using Product = ProductOf<T, true, kDeepW>;
    auto& shared = *dynamic_shared<typename Product::Shared>();
    const GroupTile tile = find_tile(offsets, groups, blockIdx.x / column_tiles, Product::kRows);
    if (tile.group < 0) return;
    const int64_t column = blockIdx.x % column_tiles * Product::kColumns, rows = tile.end - tile.begin;
    const Lines<T> a{x + tile.begin * stride, stride, rows, depth};
    const T* weights = w + tile.group * columns * depth;
    const Lines<T> b =
        kDeepW ? Lines<T>{weights, depth, columns, depth} : Lines<T>{weights, columns, depth, columns};
    Product product;
    product.add(a, b, tile.row, column, depth, shared);
    product.for_each(shared, [&](int i, int j, typename Product::Sum sum) {
        const int64_t row = tile.row + i, at = column + j;
        if (row < rows && at < columns) y[(tile.begin + row) * columns + at] = static_cast<T>(sum);
    });
}

/// dw_e [out, in] += the sum over the rows r of e of dy[r]ᵀ x[r].
template <typename T>
__global__ void __launch_bounds__(kThreads, 2)
    weights_kernel(const T* dy, int64_t dy_stride, const T* x, int64_t x_stride, const int64_t* offsets,
                   int64_t out, int64_t in, Accumulation<T>* dw) {
    using Product = ProductOf<T, false, false>;
    auto& shared = *dynamic_shared<typename Product::Shared>();
    const int64_t column_tiles = (in + Product::kColumns - 1) / Product::kColumns,
                  tiles = (out + Product::kRows - 1) / Product::kRows * column_tiles;
    const int64_t group = blockIdx.x / tiles, tile = blockIdx.x % tiles, begin = offsets[group],
                  rows = offsets[group + 1] - begin;
    if (rows == 0) return;
    const int64_t row = tile / column_tiles * Product::kRows,
                  column = tile % column_tiles * Product::kColumns;
    Product product;
    product.add({dy + begin * dy_stride, dy_stride, rows, out}, {x + begin * x_stride, x_stride, rows, in},
                row, column, rows, shared);
    product.for_each(shared, [&](int i, int j, typename Product::Sum sum) {
        if (row + i < out && column + j < in) dw[(group * out + row + i) * in + column + j] += sum;
    });
}

int64_t tiles_of(int64_t count, int64_t tile) {
    return (count + tile - 1) / tile;
}

dim3 grid_of(int64_t blocks) {
    check(blocks < int64_t{1} << 31, "grouped_linear: {} tiles are more than a launch has", blocks);
    return dim3(static_cast<unsigned>(blocks));
}

/// y [R, columns] from x [R, depth] and the weights of each group.
template <typename T, bool kDeepW>
void multiply_rows(const Tensor& x, const Tensor& w, const Tensor& offsets, const Tensor& y) {
    using Product = ProductOf<T, true, kDeepW>;
    const int64_t groups = w.dim(0), columns = y.dim(1);
    if (x.dim(0) == 0) return;
    // Every group may end within a tile, and no more tiles than that are needed.
    const int64_t row_tiles = x.dim(0) / Product::kRows + groups,
                  column_tiles = tiles_of(columns, Product::kColumns);
    launch(rows_kernel<T, kDeepW>, grid_of(row_tiles * column_tiles), kThreads,
           sizeof(typename Product::Shared), y, x.data<T>(), x.row_stride(), w.data<T>(),
           offsets.data<int64_t>(), groups, columns, x.dim(1), column_tiles, y.data<T>());
}

template <typename T>
void add_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& offsets, const Tensor& dw) {
    using Product = ProductOf<T, false, false>;
    const int64_t groups = dw.dim(0), out = dw.dim(1), in = dw.dim(2);
    if (x.dim(0) == 0) return;
    const int64_t tiles = tiles_of(out, Product::kRows) * tiles_of(in, Product::kColumns);
    launch(weights_kernel<T>, grid_of(groups * tiles), kThreads, sizeof(typename Product::Shared), dw,
           dy.data<T>(), dy.row_stride(), x.data<T>(), x.row_stride(), offsets.data<int64_t>(), out, in,
           dw.data<Accumulation<T>>());
}

} // namespace

void grouped_linear(const Tensor& x, const Parameter& w, const Tensor& offsets, const Tensor& y) {
    dispatch_storage(x.dtype(),
                     [&]<typename T>() { multiply_rows<T, true>(x, w.compute_value(), offsets, y); });
}

void grouped_linear_data_gradient(const Tensor& dy, const Parameter& w, const Tensor& offsets,
                                  const Tensor& dx) {
    dispatch_storage(dy.dtype(),
                     [&]<typename T>() { multiply_rows<T, false>(dy, w.compute_value(), offsets, dx); });
}

void grouped_linear_weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& offsets,
                                    const Tensor& dw) {
    dispatch_storage(x.dtype(), [&]<typename T>() { add_weight_gradient<T>(dy, x, offsets, dw); });
}

} // namespace braid::ops::cuda
