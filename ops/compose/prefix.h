#pragma once

#include "ops/compose/rows.h"
#include "ops/documents.h"

namespace braid::ops {

/// Documents that go on from earlier tokens: rows of those before the rows of each document, so that an
/// operation that mixes over time can be run on both together. All of it differentiable.
class Prefixed {
  public:
    /// prefix[d]: earlier rows of document d.
    Prefixed(Allocator& allocator, const Documents& documents, const std::vector<int64_t>& prefix);

    /// The documents with their prefixes.
    const DocumentsPtr& documents() const { return joined_; }
    /// Earlier rows [sum of prefix, ...], all of document 0 first, and x [T, ...] in the order of
    /// documents().
    Tensor join(Context& ctx, const Tensor& earlier, const Tensor& x) const;
    /// x [T, ...] there, zeros where the earlier rows are.
    Tensor pad(Context& ctx, const Tensor& x) const;
    /// The rows of the tokens of something joined, [T, ...].
    Tensor tokens(Context& ctx, const Tensor& joined) const;
    /// The last `count` rows of each document of something joined, [num_documents count, ...]. Every document
    /// has as many.
    Tensor last(Context& ctx, const Tensor& joined, int64_t count) const;

  private:
    DocumentsPtr joined_;
    RowIndex earlier_, tokens_;
};

} // namespace braid::ops
