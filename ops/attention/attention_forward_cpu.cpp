#include <limits>

#include "ops/attention/attention_tiles_cpu.h"

namespace braid::ops::cpu {
namespace {

/// The keys of each head and key block as a tile [d, block].
template <typename T>
class TransposedKeys {
  public:
    TransposedKeys(Allocator& allocator, const AttentionPlan& plan, const Tensor& k)
        : num_tokens_(k.dim(0)),
          size_(k.dim(2)),
          tiles_(Tensor::empty(allocator, {k.dim(1), num_tokens_ * size_}, dtype_of<T>())) {
        const auto items = plan.key_items();
#pragma omp parallel for schedule(static)
        for (size_t i = 0; i < items.size(); ++i) {
            const Range keys = plan.keys(items[i]);
            const int64_t first = plan.span(items[i]).key_begin + keys.begin;
            transpose_head(k, first, keys.size(), items[i].head, tile(items[i].head, first));
        }
    }
    /// The tile whose first key is this token.
    T* tile(int64_t head, int64_t token) const {
        return tiles_.data<T>() + (head * num_tokens_ + token) * size_;
    }

  private:
    int64_t num_tokens_, size_;
    Tensor tiles_;
};

/// The tiles of one query block; o is not yet divided by row_sum.
template <typename T>
struct ForwardTiles {
    T *q, *o, *logits, *row_max, *row_sum, *factor;
    VisibleColumns* visible;

    ForwardTiles(Carver& carver, int64_t rows, int64_t key_size, int64_t value_size)
        : q(carver.take<T>(rows * key_size)),
          o(carver.take<T>(rows * value_size)),
          logits(carver.take<T>(rows * kLogitStride)),
          row_max(carver.take<T>(rows)),
          row_sum(carver.take<T>(rows)),
          factor(carver.take<T>(rows)),
          visible(carver.take<VisibleColumns>(rows)) {}
};

template <typename T>
class Forward {
  public:
    Forward(Allocator& allocator, const AttentionPlan& plan, const Tensor& q, const Tensor& k,
            const Tensor& v, const Tensor& o, const Tensor& row_max, const Tensor& row_sum)
        : plan_(plan),
          q_(q),
          v_(v),
          o_(o),
          row_max_(row_max),
          row_sum_(row_sum),
          key_size_(k.dim(2)),
          value_size_(v.dim(2)),
          keys_(allocator, plan, k),
          scratch_(allocator, plan.max_rows(), key_size_, value_size_) {}

    /// The outputs of one block of queries.
    void run(const AttentionItem& item) const {
        const ForwardTiles<T>& tiles = scratch_.mine();
        const AttentionSpan& span = plan_.span(item);
        const Range queries = plan_.queries(item), seen = plan_.keys_of(span, queries);
        const TileRows rows = plan_.rows(item);
        gather_tile(q_, rows, static_cast<T>(plan_.scale()), tiles.q);
        std::fill_n(tiles.o, rows.size() * value_size_, T(0));
        std::fill_n(tiles.row_max, rows.size(), -std::numeric_limits<T>::infinity());
        std::fill_n(tiles.row_sum, rows.size(), T(0));
        for (int64_t block = seen.begin / AttentionPlan::kKeyBlock;
             block * AttentionPlan::kKeyBlock < seen.end; ++block)
            add_keys(tiles, rows, span, plan_.key_block(span, block), seen);
        write(tiles, rows);
    }

  private:
    /// Takes the keys of `block` that are in `seen` into the softmax.
    void add_keys(const ForwardTiles<T>& tiles, const TileRows& rows, const AttentionSpan& span, Range block,
                  Range seen) const {
        const Range keys = {std::max(block.begin, seen.begin), std::min(block.end, seen.end)};
        const T* k = keys_.tile(rows.head, span.key_begin + block.begin) + (keys.begin - block.begin);
        const T* v = head_rows<T>(v_, span.key_begin + keys.begin, rows.head);
        tile_gemm(rows.size(), keys.size(), key_size_, tiles.q, key_size_, 1, k, block.size(), tiles.logits,
                  kLogitStride, false);
        find_visible(plan_, rows, keys, tiles.visible);
        online_softmax_rows(rows.size(), keys.size(), tiles.visible, tiles.logits, kLogitStride,
                            tiles.row_max, tiles.row_sum, tiles.factor);
        for (int64_t r = 0; r < rows.size(); ++r)
            if (tiles.factor[r] != T(1))
                for (int64_t c = 0; c < value_size_; ++c) tiles.o[r * value_size_ + c] *= tiles.factor[r];
        tile_gemm(rows.size(), value_size_, keys.size(), tiles.logits, kLogitStride, 1, v, v_.row_stride(),
                  tiles.o, value_size_, true);
    }

    void write(const ForwardTiles<T>& tiles, const TileRows& rows) const {
        for (int64_t r = 0; r < rows.size(); ++r) {
            const int64_t to =
                (rows.first + r / rows.group) * q_.dim(1) + rows.head * rows.group + r % rows.group;
            row_max_.data<T>()[to] = tiles.row_max[r];
            row_sum_.data<T>()[to] = tiles.row_sum[r];
            T* o = o_.data<T>() + to * value_size_;
            for (int64_t c = 0; c < value_size_; ++c) o[c] = tiles.o[r * value_size_ + c] / tiles.row_sum[r];
        }
    }

    const AttentionPlan& plan_;
    const Tensor &q_, &v_, &o_, &row_max_, &row_sum_;
    const int64_t key_size_, value_size_;
    const TransposedKeys<T> keys_;
    const TileScratch<ForwardTiles<T>> scratch_;
};

} // namespace

void attention_forward(Allocator& allocator, const AttentionProblem& problem, const Tensor& q,
                       const Tensor& k, const Tensor& v, const Tensor& o, const Tensor& row_max,
                       const Tensor& row_sum) {
    const AttentionPlan plan(problem, q.dim(1), k.dim(1));
    const auto items = plan.query_items();
    const Tensor wide_q = widened(q), wide_k = widened(k), wide_v = widened(v);
    const Rounded result(o);
    dispatch_float(row_max.dtype(), [&]<typename T>() {
        const Forward<T> forward(allocator, plan, wide_q, wide_k, wide_v, result, row_max, row_sum);
#pragma omp parallel for schedule(dynamic)
        for (size_t i = 0; i < items.size(); ++i) forward.run(items[i]);
    });
}

} // namespace braid::ops::cpu
