#pragma once

#include "ops/attention/attention_plan_cpu.h"
#include "ops/attention/attention_rows_cpu.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/tile_gemm.h"
#include "ops/cpu/widen.h"

// What the passes of attention share: moving tiles between tensors and scratch memory.
namespace braid::ops::cpu {

/// Hands out arrays of one block of memory, each on a cache line of its own. Without memory it only counts.
class Carver {
  public:
    explicit Carver(std::byte* memory) : memory_(memory) {}
    template <typename T>
    T* take(int64_t count) {
        const size_t begin = used_;
        used_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
        return memory_ ? reinterpret_cast<T*>(memory_ + begin) : nullptr;
    }
    size_t used() const { return used_; }

  private:
    std::byte* memory_;
    size_t used_ = 0;
};

/// Scratch for every thread: Tiles, whose constructor Tiles(Carver&, sizes...) takes arrays of several types.
template <typename Tiles>
class TileScratch {
  public:
    template <typename... Sizes>
    explicit TileScratch(Allocator& allocator, const Sizes&... sizes) {
        Carver counter(nullptr);
        Tiles(counter, sizes...);
        const auto bytes = static_cast<int64_t>(counter.used());
        memory_ = Tensor::empty(allocator, {num_threads(), bytes}, DType::u8);
        for (int64_t i = 0; i < num_threads(); ++i) {
            Carver carver(reinterpret_cast<std::byte*>(memory_.data<uint8_t>() + i * bytes));
            tiles_.emplace_back(carver, sizes...);
        }
    }
    const Tiles& mine() const { return tiles_[static_cast<size_t>(thread_index())]; }

  private:
    Tensor memory_;
    std::vector<Tiles> tiles_;
};

/// Elements between the rows of a tile of logits: more than a key block, as powers of two share cache sets.
constexpr int64_t kLogitStride = AttentionPlan::kKeyBlock + 16;

/// tile [rows, d] = factor * x [T, Hq, d].
template <typename T>
void gather_tile(const Tensor& x, const TileRows& rows, T factor, T* tile) {
    const int64_t width = rows.group * x.dim(2);
    for (int64_t t = 0; t < rows.count; ++t) {
        const T* from = x.data<T>() + (rows.first + t) * x.row_stride() + rows.head * width;
        for (int64_t j = 0; j < width; ++j) tile[t * width + j] = factor * from[j];
    }
}

/// column [rows] = x [T, Hq].
template <typename T>
void gather_column(const Tensor& x, const TileRows& rows, T* column) {
    for (int64_t t = 0; t < rows.count; ++t) {
        const T* from = x.data<T>() + (rows.first + t) * x.row_stride() + rows.head * rows.group;
        std::copy_n(from, rows.group, column + t * rows.group);
    }
}

/// Row `token` of one head of x [S, H, d].
template <typename T>
T* head_rows(const Tensor& x, int64_t token, int64_t head) {
    return x.data<T>() + token * x.row_stride() + head * x.dim(2);
}

/// tile [d, count] = the transpose of rows [first, first + count) of one head of x [S, H, d].
template <typename T>
void transpose_head(const Tensor& x, int64_t first, int64_t count, int64_t head, T* tile) {
    const int64_t size = x.dim(2), stride = x.row_stride();
    const T* from = head_rows<T>(x, first, head);
    for (int64_t c = 0; c < size; ++c)
        for (int64_t r = 0; r < count; ++r) tile[c * count + r] = from[r * stride + c];
}

/// The reverse of reading: rows [first, first + count) of one head of x [S, H, d] = tile [count, d].
template <typename T>
void scatter_head(const T* tile, int64_t first, int64_t count, int64_t head, const Tensor& x) {
    for (int64_t r = 0; r < count; ++r)
        std::copy_n(tile + r * x.dim(2), x.dim(2), head_rows<T>(x, first + r, head));
}

/// Which columns of a tile, standing for these keys, each row sees.
inline void find_visible(const AttentionPlan& plan, const TileRows& rows, Range keys,
                         VisibleColumns* visible) {
    for (int64_t t = 0; t < rows.count; ++t) {
        const int64_t position = rows.position + t;
        const VisibleColumns range = {
            static_cast<int32_t>(std::clamp<int64_t>(plan.first_key(position) - keys.begin, 0, keys.size())),
            static_cast<int32_t>(std::clamp<int64_t>(position + 1 - keys.begin, 0, keys.size()))};
        std::fill_n(visible + t * rows.group, rows.group, range);
    }
}

} // namespace braid::ops::cpu
