#include "ops/compose/prefix.h"

#include "ops/basic/elementwise.h"

namespace braid::ops {
namespace {

DocumentsPtr with_prefixes(const Documents& documents, const std::vector<int64_t>& prefix) {
    check(static_cast<int64_t>(prefix.size()) == documents.num_documents(), "{} prefixes of {} documents",
          prefix.size(), documents.num_documents());
    auto joined = std::make_shared<Documents>();
    joined->offsets = {0};
    for (size_t d = 0; d < prefix.size(); ++d)
        joined->offsets.push_back(joined->offsets.back() + static_cast<int32_t>(prefix[d]) +
                                  documents.offsets[d + 1] - documents.offsets[d]);
    return joined;
}

/// Where the earlier rows of all documents are among the joined ones, or where the tokens are.
std::vector<int32_t> places(const Documents& joined, const std::vector<int64_t>& prefix, bool earlier) {
    std::vector<int32_t> rows;
    for (size_t d = 0; d < prefix.size(); ++d) {
        const auto border = joined.offsets[d] + static_cast<int32_t>(prefix[d]);
        for (int32_t row = earlier ? joined.offsets[d] : border;
             row < (earlier ? border : joined.offsets[d + 1]); ++row)
            rows.push_back(row);
    }
    return rows;
}

} // namespace

Prefixed::Prefixed(Allocator& allocator, const Documents& documents, const std::vector<int64_t>& prefix)
    : joined_(with_prefixes(documents, prefix)),
      earlier_(allocator, places(*joined_, prefix, true), joined_->num_tokens()),
      tokens_(allocator, places(*joined_, prefix, false), joined_->num_tokens()) {}

Tensor Prefixed::join(Context& ctx, const Tensor& earlier, const Tensor& x) const {
    return add(ctx, scatter_rows(ctx, earlier, earlier_), pad(ctx, x));
}

Tensor Prefixed::pad(Context& ctx, const Tensor& x) const {
    return scatter_rows(ctx, x, tokens_);
}

Tensor Prefixed::tokens(Context& ctx, const Tensor& joined) const {
    return gather_rows(ctx, joined, tokens_);
}

Tensor Prefixed::last(Context& ctx, const Tensor& joined, int64_t count) const {
    std::vector<int32_t> rows;
    for (size_t d = 0; d + 1 < joined_->offsets.size(); ++d) {
        const int32_t end = joined_->offsets[d + 1];
        check(end - joined_->offsets[d] >= count, "a document of fewer than {} rows", count);
        for (int32_t row = end - static_cast<int32_t>(count); row < end; ++row) rows.push_back(row);
    }
    return gather_rows(ctx, joined, RowIndex(*ctx.allocator, rows, joined_->num_tokens()));
}

} // namespace braid::ops
