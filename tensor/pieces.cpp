#include "tensor/pieces.h"

#include <algorithm>

namespace braid {
namespace {

/// Rows [first, first + count) of the inputs, as values of their own.
Values rows_of(std::span<const Tensor> inputs, int64_t first, int64_t count) {
    Values rows;
    for (const Tensor& input : inputs) rows.push_back(input.rows(first, count));
    return rows;
}

/// Copies packed rows to where they belong in a packed tensor of more rows.
void put_rows(const Tensor& rows, const Tensor& all, int64_t first) {
    const Tensor place = all.rows(first, rows.dim(0));
    check(rows.is_contiguous() && place.bytes() == rows.bytes(), "a piece of shape {} does not fit into {}",
          to_string(rows.shape()), to_string(all.shape()));
    copy(rows, place);
}

Shape with_rows(const Shape& shape, int64_t rows) {
    std::vector<int64_t> dims(shape.dims().begin(), shape.dims().end());
    dims.at(0) = rows;
    return Shape(dims);
}

/// Calls visit(first, count) for each piece, in order.
template <typename Visit>
void for_each_piece(int64_t rows, int64_t piece_rows, Visit&& visit) {
    for (int64_t first = 0; first < rows; first += piece_rows)
        visit(first, std::min(piece_rows, rows - first));
}

/// Runs a piece forward again and backward, and puts the gradients of its inputs into `gradients`.
void piece_backward(Context& ctx, const Values& piece, const Tensor& dy, const RowFunction& body,
                    const Values& gradients, int64_t first) {
    Tape tape;
    Context again = ctx;
    again.tape = &tape;
    again.recomputing = true;
    Gradients table(*ctx.allocator);
    table.add(body(again, piece).ref(), dy);
    tape.backward(ctx, table);
    for (size_t i = 0; i < piece.size(); ++i) {
        const Tensor dx = table.take(piece[i].ref());
        if (dx.defined()) put_rows(dx, gradients[i], first);
    }
}

void pieces_backward(const Backward& run, int64_t piece_rows, const RowFunction& body) {
    Values gradients; // undefined for integers
    for (const Tensor& input : run.saved)
        gradients.push_back(is_floating(input.dtype())
                                ? Tensor::zeros(*run.ctx.allocator, input.shape(), input.dtype())
                                : Tensor());
    for_each_piece(run.dy[0].dim(0), piece_rows, [&](int64_t first, int64_t count) {
        piece_backward(run.ctx, rows_of(run.saved, first, count), run.dy[0].rows(first, count), body,
                       gradients, first);
    });
    for (size_t i = 0; i < gradients.size(); ++i)
        if (gradients[i].defined()) run.add(run.saved[i].ref(), std::move(gradients[i]));
}

} // namespace

Tensor run_in_pieces(Context& ctx, const Values& inputs, int64_t piece_rows, const RowFunction& body) {
    const int64_t rows = inputs.at(0).dim(0);
    if (piece_rows == 0 || rows <= piece_rows) return body(ctx, inputs);
    Context forward = ctx;
    forward.tape = nullptr;
    Tensor y;
    for_each_piece(rows, piece_rows, [&](int64_t first, int64_t count) {
        const Tensor part = body(forward, rows_of(inputs, first, count));
        if (!y.defined()) y = Tensor::empty(*ctx.allocator, with_rows(part.shape(), rows), part.dtype());
        put_rows(part, y, first);
    });
    if (ctx.tape)
        ctx.tape->record({"pieces", {y.ref()}, inputs, [piece_rows, body](const Backward& run) {
                              pieces_backward(run, piece_rows, body);
                          }});
    return y;
}

} // namespace braid
