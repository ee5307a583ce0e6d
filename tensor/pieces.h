#pragma once

#include <functional>

#include "tensor/segment.h"

namespace braid {

/// Gives rows [n, ...] from as many rows of every input. Row t of the result must follow from row t of the
/// inputs and from parameters alone; no part of it may communicate.
using RowFunction = std::function<Tensor(Context&, const Values&)>;

/// body(inputs), on at most `piece_rows` rows (dimension 0) at once. Up to so many rows, or with piece_rows
/// 0, it is run as it stands, and the tape keeps what it saves. More rows are run piece after piece, in
/// order; then only the inputs are kept, and backward runs each piece forward once more before it takes its
/// gradients. Memory for what happens inside `body` is therefore that of piece_rows rows, however many there
/// are.
///
/// The gradients of parameters are added piece by piece, from the first to the last, as if the pieces were
/// micro-batches: equal to those of one piece to rounding.
Tensor run_in_pieces(Context& ctx, const Values& inputs, int64_t piece_rows, const RowFunction& body);

} // namespace braid
