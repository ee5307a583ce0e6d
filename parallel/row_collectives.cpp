#include "parallel/row_collectives.h"

#include <algorithm>
#include <numeric>

#include "ops/basic/ordered_sum.h"
#include "parallel/collectives.h"

namespace braid {
namespace {

int64_t total(const RowCounts& rows) {
    return std::accumulate(rows.begin(), rows.end(), int64_t{0});
}

Shape with_rows(const Shape& shape, int64_t rows) {
    std::vector<int64_t> dims(shape.dims().begin(), shape.dims().end());
    dims[0] = rows;
    return Shape(dims);
}

/// Bytes of a row; the shape may have no row.
int64_t row_bytes(const Shape& shape, DType dtype) {
    int64_t elements = 1;
    for (int d = 1; d < shape.rank(); ++d) elements *= shape[d];
    return elements * static_cast<int64_t>(size_of(dtype));
}

std::vector<int64_t> in_bytes(const RowCounts& rows, int64_t bytes) {
    std::vector<int64_t> result;
    for (const int64_t count : rows) result.push_back(count * bytes);
    return result;
}

int64_t first_row(const RowCounts& rows, int rank) {
    return std::accumulate(rows.begin(), rows.begin() + rank, int64_t{0});
}

Tensor packed(Allocator& allocator, const Tensor& x) {
    if (x.is_contiguous()) return x;
    Tensor y = Tensor::empty(allocator, x.shape(), x.dtype());
    copy(x, y);
    return y;
}

Tensor gather(Allocator& allocator, Communicator& comm, const Tensor& x, const RowCounts& rows) {
    Tensor y = Tensor::empty(allocator, with_rows(x.shape(), total(rows)), x.dtype());
    const Tensor mine = packed(allocator, x);
    for_memory_of(comm, x)
        .all_gather(mine.raw_data(), y.raw_data(), in_bytes(rows, row_bytes(x.shape(), x.dtype())))
        ->wait();
    return y;
}

Tensor reduce_scatter(Allocator& allocator, Communicator& comm, const Tensor& x, const RowCounts& rows) {
    const int64_t mine = rows[static_cast<size_t>(comm.rank())], bytes = row_bytes(x.shape(), x.dtype());
    const Tensor all = packed(allocator, x);
    Tensor y = Tensor::empty(allocator, with_rows(x.shape(), mine), x.dtype());
    const Tensor parts = Tensor::empty(allocator, {comm.size(), y.numel()}, x.dtype());
    for_memory_of(comm, x)
        .all_to_all(all.raw_data(), in_bytes(rows, bytes), parts.raw_data(),
                    std::vector<int64_t>(rows.size(), mine * bytes))
        ->wait();
    ops::ordered_sum(parts, y);
    return y;
}

Tensor all_reduce(Allocator& allocator, Communicator& comm, const Tensor& x) {
    Tensor y = Tensor::empty(allocator, x.shape(), x.dtype());
    copy(x, y);
    OrderedAllReduce reduce(comm, allocator, y);
    reduce.add_parts();
    reduce.finish();
    return y;
}

Tensor rows_of(Communicator& comm, const Tensor& x, const RowCounts& rows) {
    return x.rows(first_row(rows, comm.rank()), rows[static_cast<size_t>(comm.rank())]);
}

/// dx from dy.
using RowGradient = std::function<Tensor(Context&, const Tensor&)>;

/// Records an operation of one input.
void record(Context& ctx, const char* name, const Tensor& x, const Tensor& y, RowGradient gradient) {
    if (!ctx.tape) return;
    ctx.tape->record(
        {name, {y.ref()}, {}, [x = x.ref(), gradient = std::move(gradient)](const Backward& run) {
             run.add(x, gradient(run.ctx, run.dy[0]));
         }});
}

/// Every rank's rows; what use is made of them decides the gradient.
Tensor gather_recorded(Context& ctx, Communicator& comm, const Tensor& x, const RowCounts& rows,
                       RowGradient gradient) {
    if (comm.size() == 1) return x;
    const ProfileScope scope(ctx.profiler, "all_gather");
    Tensor y = gather(*ctx.allocator, comm, x, rows);
    record(ctx, "all_gather", x, y, std::move(gradient));
    return y;
}

} // namespace

RowCounts even_rows(int64_t rows, int size) {
    RowCounts counts;
    const EvenSplit split{rows, size};
    for (int r = 0; r < size; ++r) counts.push_back(split.length(r));
    return counts;
}

Tensor all_gather_rows(Context& ctx, Communicator& comm, const Tensor& x, const RowCounts& rows) {
    return gather_recorded(ctx, comm, x, rows, [&comm, rows](Context& run, const Tensor& dy) {
        return reduce_scatter(*run.allocator, comm, dy, rows);
    });
}

Tensor reduce_scatter_rows(Context& ctx, Communicator& comm, const Tensor& x, const RowCounts& rows) {
    if (comm.size() == 1) return x;
    const ProfileScope scope(ctx.profiler, "reduce_scatter");
    Tensor y = reduce_scatter(*ctx.allocator, comm, x, rows);
    record(ctx, "reduce_scatter", x, y,
           [&comm, rows](Context& run, const Tensor& dy) { return gather(*run.allocator, comm, dy, rows); });
    return y;
}

Tensor copy_to_region(Context& ctx, Communicator& comm, const Tensor& x) {
    if (comm.size() == 1) return x;
    Tensor y = x.detach();
    record(ctx, "all_reduce", x, y,
           [&comm](Context& run, const Tensor& dy) { return all_reduce(*run.allocator, comm, dy); });
    return y;
}

Tensor reduce_from_region(Context& ctx, Communicator& comm, const Tensor& x) {
    if (comm.size() == 1) return x;
    const ProfileScope scope(ctx.profiler, "all_reduce");
    Tensor y = all_reduce(*ctx.allocator, comm, x);
    record(ctx, "all_reduce", x, y, [](Context&, const Tensor& dy) { return dy; });
    return y;
}

Tensor reduce_in_region(Context& ctx, Communicator& comm, const Tensor& x) {
    if (comm.size() == 1) return x;
    const ProfileScope scope(ctx.profiler, "all_reduce");
    Tensor y = all_reduce(*ctx.allocator, comm, x);
    record(ctx, "all_reduce", x, y,
           [&comm](Context& run, const Tensor& dy) { return all_reduce(*run.allocator, comm, dy); });
    return y;
}

Tensor scatter_to_region(Context& ctx, Communicator& comm, const Tensor& x, const RowCounts& rows) {
    if (comm.size() == 1) return x;
    Tensor y = rows_of(comm, x, rows);
    record(ctx, "scatter", x, y,
           [&comm, rows](Context& run, const Tensor& dy) { return gather(*run.allocator, comm, dy, rows); });
    return y;
}

Tensor gather_from_region(Context& ctx, Communicator& comm, const Tensor& x, const RowCounts& rows) {
    return gather_recorded(ctx, comm, x, rows,
                           [&comm, rows](Context&, const Tensor& dy) { return rows_of(comm, dy, rows); });
}

struct RowExchange::State {
    Communicator& comm;
    const RowCounts send, receive;
    const ValueRef x;
    std::unique_ptr<Pending> pending;
    Tensor from, into; // must outlive the messages

    /// Starts to move rows: forward x to y, backward dy to dx.
    void start(Allocator& allocator, const Tensor& rows, bool forward) {
        const RowCounts &out = forward ? send : receive, &in = forward ? receive : send;
        const int64_t bytes = row_bytes(rows.shape(), rows.dtype());
        from = packed(allocator, rows);
        into = Tensor::empty(allocator, with_rows(rows.shape(), total(in)), rows.dtype());
        if (comm.size() == 1)
            copy(from, into);
        else
            pending =
                for_memory_of(comm, rows)
                    .all_to_all(from.raw_data(), in_bytes(out, bytes), into.raw_data(), in_bytes(in, bytes));
    }
    Tensor take() {
        if (pending) pending->wait();
        pending.reset();
        from = {};
        return std::move(into);
    }
};

RowExchange::RowExchange(Context& ctx, Communicator& comm, const Tensor& x, RowCounts send, RowCounts receive)
    : state_(new State{comm, std::move(send), std::move(receive), x.ref(), nullptr, {}, {}}) {
    check(total(state_->send) == x.dim(0), "{} rows are exchanged, {} are there", total(state_->send),
          x.dim(0));
    state_->start(*ctx.allocator, x, true);
    if (!ctx.tape) return;
    // The two records share one value, which stands for the rows under way: in backward the later one (of
    // finish) starts the messages, and this one waits for them.
    const Tensor under_way = state_->into;
    ctx.tape->record({"exchange_rows", {under_way.ref()}, {}, [state = state_](const Backward& run) {
                          run.add(state->x, state->take());
                      }});
}

Tensor RowExchange::finish(Context& ctx) {
    const ProfileScope scope(ctx.profiler, "exchange_rows");
    const Tensor arrived = state_->take();
    Tensor y = arrived.detach();
    if (ctx.tape)
        ctx.tape->record({"exchange_rows",
                          {y.ref()},
                          {},
                          [state = state_, under_way = arrived.ref()](const Backward& run) {
                              state->start(*run.ctx.allocator, run.dy[0], false);
                              // The gradient itself is under way; this marks for the first record that there
                              // is one.
                              run.add(under_way, run.dy[0]);
                          }});
    return y;
}

RowCounts exchange_counts(Communicator& comm, const RowCounts& send) {
    RowCounts receive(send.size());
    const std::vector<int64_t> bytes(send.size(), sizeof(int64_t));
    comm.all_to_all(send.data(), bytes, receive.data(), bytes)->wait();
    return receive;
}

Tensor exchange_integers(Allocator& allocator, Communicator& comm, const Tensor& x, const RowCounts& send,
                         const RowCounts& receive) {
    if (comm.size() == 1) return x;
    const int64_t bytes = row_bytes(x.shape(), x.dtype());
    Tensor y = Tensor::empty(allocator, with_rows(x.shape(), total(receive)), x.dtype());
    for_memory_of(comm, x)
        .all_to_all(x.raw_data(), in_bytes(send, bytes), y.raw_data(), in_bytes(receive, bytes))
        ->wait();
    return y;
}

Tensor all_gather_integers(Allocator& allocator, Communicator& comm, const Tensor& x, const RowCounts& rows) {
    return gather(allocator, comm, x, rows);
}

} // namespace braid
