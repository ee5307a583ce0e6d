#include "layers/regions.h"

#include <algorithm>
#include <cmath>

#include "ops/documents.h"
#include "parallel/collectives.h"
#include "parallel/mesh.h"

namespace braid {
namespace {

bool is_alone(const Context& ctx) {
    return !ctx.mesh || ctx.mesh->grid().tensor.size == 1;
}

Communicator& tensor_ranks(const Context& ctx) {
    return ctx.mesh->axis(Axis::tensor);
}

} // namespace

RowCounts token_rows(const Context& ctx) {
    return even_rows(ctx.documents->num_tokens(), is_alone(ctx) ? 1 : ctx.mesh->grid().tensor.size);
}

int64_t first_token(const Context& ctx) {
    if (is_alone(ctx)) return 0;
    const auto [size, index] = ctx.mesh->grid().tensor;
    return EvenSplit{ctx.documents->num_tokens(), size}.first(index);
}

Tensor enter_split_weights(Context& ctx, const Tensor& x) {
    if (is_alone(ctx)) return x;
    if (ctx.mesh->grid().sequence) return all_gather_rows(ctx, tensor_ranks(ctx), x, token_rows(ctx));
    return use_copy(ctx, tensor_ranks(ctx), x);
}

Tensor leave_split_weights(Context& ctx, const Tensor& part) {
    if (is_alone(ctx)) return part;
    if (ctx.mesh->grid().sequence) return reduce_scatter_rows(ctx, tensor_ranks(ctx), part, token_rows(ctx));
    return sum_to_copy(ctx, tensor_ranks(ctx), part);
}

Tensor enter_split_tokens(Context& ctx, const Tensor& x) {
    if (is_alone(ctx) || ctx.mesh->grid().sequence) return x;
    return take_rows(ctx, tensor_ranks(ctx), x, token_rows(ctx));
}

Tensor leave_split_tokens(Context& ctx, const Tensor& x) {
    if (is_alone(ctx) || ctx.mesh->grid().sequence) return x;
    return join_rows(ctx, tensor_ranks(ctx), x, token_rows(ctx));
}

ops::CombineHeadParts combine_head_parts(const Context& ctx) {
    if (is_alone(ctx)) return {};
    return [&comm = tensor_ranks(ctx)](const Tensor& lse, const Tensor& label_logits) {
        const int64_t tokens = lse.numel();
        std::vector<double> mine(lse.span<double>().begin(), lse.span<double>().end());
        mine.insert(mine.end(), label_logits.span<double>().begin(), label_logits.span<double>().end());
        const std::vector<double> all = all_gather_equal(comm, std::span<const double>(mine));
        for (int64_t t = 0; t < tokens; ++t) {
            const auto part = [&](int rank, int64_t at) {
                return all[static_cast<size_t>(rank * 2 * tokens + at)];
            };
            double top = part(0, t), sum = 0, logit = 0;
            for (int r = 1; r < comm.size(); ++r) top = std::max(top, part(r, t));
            for (int r = 0; r < comm.size(); ++r) {
                sum += std::exp(part(r, t) - top);
                logit += part(r, tokens + t);
            }
            lse.data<double>()[t] = top + std::log(sum);
            label_logits.data<double>()[t] = logit;
        }
    };
}

bool reports_for_tensor_ranks(const Context& ctx) {
    return is_alone(ctx) || ctx.mesh->grid().tensor.index == 0;
}

} // namespace braid
