#include <atomic>
#include <memory>
#include <thread>

#include "ops/attention/attention_tiles_cpu.h"
#include "ops/cpu/vector_math.h"

namespace braid::ops::cpu {
namespace {

/// The tiles of one key block, and of the query block that it meets.
template <typename T>
struct BackwardTiles {
    T *k_transposed, *v_transposed, *dk, *dv; // of the key block
    T *q, *d_o, *dq, *row_max, *inverse_sum, *delta;
    T *p, *ds; // softmax, and gradient of the logits
    VisibleColumns* visible;

    BackwardTiles(Carver& carver, int64_t rows, int64_t key_size, int64_t value_size)
        : k_transposed(carver.take<T>(AttentionPlan::kKeyBlock * key_size)),
          v_transposed(carver.take<T>(AttentionPlan::kKeyBlock * value_size)),
          dk(carver.take<T>(AttentionPlan::kKeyBlock * key_size)),
          dv(carver.take<T>(AttentionPlan::kKeyBlock * value_size)),
          q(carver.take<T>(rows * key_size)),
          d_o(carver.take<T>(rows * value_size)),
          dq(carver.take<T>(rows * key_size)),
          row_max(carver.take<T>(rows)),
          inverse_sum(carver.take<T>(rows)),
          delta(carver.take<T>(rows)),
          p(carver.take<T>(rows * kLogitStride)),
          ds(carver.take<T>(rows * kLogitStride)),
          visible(carver.take<VisibleColumns>(rows)) {}
};

struct BackwardTensors {
    const Tensor &q, &k, &v, &o, &row_max, &row_sum, &d_o, &dq, &dk, &dv;
};

/// One pass over key blocks, each by one thread, which meets its query blocks in order. The thread owns the
/// block's dk and dv; to a query block's dq the key blocks add in ascending order, each waiting for its
/// turn. As blocks are started in that order too, the first unfinished one never waits.
template <typename T>
class AttentionBackward {
  public:
    AttentionBackward(Allocator& allocator, const AttentionPlan& plan, const BackwardTensors& x)
        : plan_(plan),
          x_(x),
          key_size_(x.k.dim(2)),
          value_size_(x.v.dim(2)),
          delta_(Tensor::empty(allocator, {x.q.dim(0), x.q.dim(1)}, dtype_of<T>())),
          scratch_(allocator, plan.max_rows(), key_size_, value_size_),
          turns_(std::make_unique<std::atomic<int64_t>[]>(static_cast<size_t>(plan.num_query_items()))) {}

    void run() {
        find_delta();
        const auto items = plan_.key_items();
        std::atomic<size_t> next{0};
#pragma omp parallel
        for (size_t i = next++; i < items.size(); i = next++) run(items[i]);
    }

  private:
    /// delta = the sum over dv of d_o * o, which is the softmax's sum over keys of p * dp.
    void find_delta() {
        const int64_t tokens = x_.o.dim(0), heads = x_.o.dim(1);
#pragma omp parallel for schedule(static)
        for (int64_t t = 0; t < tokens; ++t)
            for (int64_t h = 0; h < heads; ++h)
                delta_.data<T>()[t * heads + h] =
                    dot(x_.o.data<T>() + (t * heads + h) * value_size_,
                        x_.d_o.data<T>() + t * x_.d_o.row_stride() + h * value_size_, value_size_);
    }

    void run(const AttentionItem& item) {
        const BackwardTiles<T>& tiles = scratch_.mine();
        const AttentionSpan& span = plan_.span(item);
        const Range keys = plan_.keys(item), queries = plan_.queries_of(span, keys);
        const int64_t first = span.key_begin + keys.begin;
        transpose_head(x_.k, first, keys.size(), item.head, tiles.k_transposed);
        transpose_head(x_.v, first, keys.size(), item.head, tiles.v_transposed);
        std::fill_n(tiles.dk, keys.size() * key_size_, T(0));
        std::fill_n(tiles.dv, keys.size() * value_size_, T(0));
        for (int64_t block = queries.begin / plan_.query_block; block * plan_.query_block < queries.end;
             ++block)
            add_queries(tiles, {item.span, item.head, block}, keys);
        scatter_head(tiles.dk, first, keys.size(), item.head, x_.dk);
        scatter_head(tiles.dv, first, keys.size(), item.head, x_.dv);
    }

    /// Adds what a block of queries gives to dk and dv of the key block, and to their own dq.
    void add_queries(const BackwardTiles<T>& tiles, const AttentionItem& item, Range block) {
        const AttentionSpan& span = plan_.span(item);
        const Range seen = plan_.keys_of(span, plan_.queries(item));
        const Range keys = {std::max(block.begin, seen.begin), std::min(block.end, seen.end)};
        const TileRows rows = plan_.rows(item);
        load(tiles, rows);
        find_logit_gradient(tiles, rows, keys, block);
        const int64_t skipped = keys.begin - block.begin, count = keys.size();
        tile_gemm(count, value_size_, rows.size(), tiles.p, 1, kLogitStride, tiles.d_o, value_size_,
                  tiles.dv + skipped * value_size_, value_size_, true);
        tile_gemm(count, key_size_, rows.size(), tiles.ds, 1, kLogitStride, tiles.q, key_size_,
                  tiles.dk + skipped * key_size_, key_size_, true);
        tile_gemm(rows.size(), key_size_, count, tiles.ds, kLogitStride, 1,
                  head_rows<T>(x_.k, span.key_begin + keys.begin, rows.head), x_.k.row_stride(), tiles.dq,
                  key_size_, false);
        add_dq(tiles, rows, plan_.query_block_index(item),
               block.begin / AttentionPlan::kKeyBlock - seen.begin / AttentionPlan::kKeyBlock);
    }

    void load(const BackwardTiles<T>& tiles, const TileRows& rows) const {
        gather_tile(x_.q, rows, static_cast<T>(plan_.scale()), tiles.q);
        gather_tile(x_.d_o, rows, T(1), tiles.d_o);
        gather_column(x_.row_max, rows, tiles.row_max);
        gather_column(x_.row_sum, rows, tiles.inverse_sum);
        gather_column(delta_, rows, tiles.delta);
        for (int64_t r = 0; r < rows.size(); ++r) tiles.inverse_sum[r] = T(1) / tiles.inverse_sum[r];
    }

    /// p, and ds = p * (dp - delta), of a tile; keys is the part of the key block that the rows see.
    void find_logit_gradient(const BackwardTiles<T>& tiles, const TileRows& rows, Range keys,
                             Range block) const {
        const int64_t skipped = keys.begin - block.begin, columns = keys.size();
        tile_gemm(rows.size(), columns, key_size_, tiles.q, key_size_, 1, tiles.k_transposed + skipped,
                  block.size(), tiles.p, kLogitStride, false);
        tile_gemm(rows.size(), columns, value_size_, tiles.d_o, value_size_, 1, tiles.v_transposed + skipped,
                  block.size(), tiles.ds, kLogitStride, false);
        find_visible(plan_, rows, keys, tiles.visible);
        softmax_rows(rows.size(), columns, tiles.visible, tiles.p, kLogitStride, tiles.row_max,
                     tiles.inverse_sum);
        for (int64_t r = 0; r < rows.size(); ++r) {
            const T *p = tiles.p + r * kLogitStride, delta = tiles.delta[r];
            T* ds = tiles.ds + r * kLogitStride;
            for (int64_t c = 0; c < columns; ++c) ds[c] = p[c] * (ds[c] - delta);
        }
    }

    /// Adds to dq as number `turn` of the key blocks that this query block sees.
    void add_dq(const BackwardTiles<T>& tiles, const TileRows& rows, int64_t index, int64_t turn) {
        std::atomic<int64_t>& turns = turns_[static_cast<size_t>(index)];
        while (turns.load(std::memory_order_acquire) != turn) std::this_thread::yield();
        const int64_t width = rows.group * key_size_;
        const T scale = static_cast<T>(plan_.scale());
        for (int64_t t = 0; t < rows.count; ++t) {
            T* dq = x_.dq.data<T>() + (rows.first + t) * x_.dq.row_stride() + rows.head * width;
            const T* part = tiles.dq + t * width;
            if (turn == 0)
                for (int64_t j = 0; j < width; ++j) dq[j] = scale * part[j];
            else
                for (int64_t j = 0; j < width; ++j) dq[j] += scale * part[j];
        }
        turns.store(turn + 1, std::memory_order_release);
    }

    const AttentionPlan& plan_;
    const BackwardTensors& x_;
    const int64_t key_size_, value_size_;
    const Tensor delta_;
    const TileScratch<BackwardTiles<T>> scratch_;
    const std::unique_ptr<std::atomic<int64_t>[]> turns_; // by query block: key blocks added so far
};

} // namespace

void attention_backward(Allocator& allocator, const AttentionProblem& problem, const Tensor& q,
                        const Tensor& k, const Tensor& v, const Tensor& o, const Tensor& row_max,
                        const Tensor& row_sum, const Tensor& d_o, const Tensor& dq, const Tensor& dk,
                        const Tensor& dv) {
    const AttentionPlan plan(problem, q.dim(1), k.dim(1));
    const Tensor wide_q = widened(q), wide_k = widened(k), wide_v = widened(v), wide_o = widened(o),
                 wide_d_o = widened(d_o);
    const Rounded to_dq(dq), to_dk(dk), to_dv(dv);
    const BackwardTensors tensors{wide_q,  wide_k,   wide_v, wide_o, row_max,
                                  row_sum, wide_d_o, to_dq,  to_dk,  to_dv};
    dispatch_float(row_max.dtype(),
                   [&]<typename T>() { AttentionBackward<T>(allocator, plan, tensors).run(); });
}

} // namespace braid::ops::cpu
