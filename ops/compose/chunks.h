#pragma once

#include "ops/compose/rows.h"
#include "ops/documents.h"

namespace braid::ops {

/// Documents cut into chunks of `length` tokens, the last of each padded with rows of zeros, so that every
/// chunk of every head is a matrix [length, d] and batched products serve them all. Rows are those of x
/// [T, H, d], seen as [T H, d]; chunk c of head h is matrix c H + h. With `repeats`, each of x's heads is so
/// many heads in a row.
class PaddedChunks {
  public:
    PaddedChunks(Allocator& allocator, const Documents& documents, int64_t num_heads, int64_t length,
                 int64_t repeats = 1);

    int64_t num_chunks() const { return runs_->num_tokens(); }
    /// [T H] rows -> [chunks H length], padded.
    const RowIndex& rows() const { return rows_; }
    /// The last row of each matrix; and for each row of a matrix, the matrix.
    const RowIndex& last_rows() const { return last_rows_; }
    const RowIndex& matrices() const { return matrices_; }
    /// Where the chunks of each document begin, counted in chunks; and matrices as documents of `length`
    /// rows.
    const DocumentsPtr& runs() const { return runs_; }
    const DocumentsPtr& within() const { return within_; }

  private:
    DocumentsPtr runs_, within_;
    RowIndex rows_, last_rows_, matrices_;
};

} // namespace braid::ops
