#include "layers/sublayer/regions.h"

#include "ops/basic/head_parts.h"
#include "ops/documents.h"
#include "parallel/collectives.h"
#include "parallel/mesh.h"

namespace braid {
namespace {

bool is_alone(const LayerContext& ctx) {
    return !ctx.mesh || ctx.mesh->grid().tensor.size == 1;
}

Communicator& tensor_ranks(const LayerContext& ctx) {
    return ctx.mesh->axis(Axis::tensor);
}

} // namespace

RowCounts token_rows(const LayerContext& ctx) {
    return even_rows(ctx.documents->num_tokens(), is_alone(ctx) ? 1 : ctx.mesh->grid().tensor.size);
}

int64_t first_token(const LayerContext& ctx) {
    if (is_alone(ctx)) return 0;
    const auto [size, index] = ctx.mesh->grid().tensor;
    return EvenSplit{ctx.documents->num_tokens(), size}.first(index);
}

Tensor to_column_parallel(LayerContext& ctx, const Tensor& x) {
    if (is_alone(ctx)) return x;
    if (ctx.mesh->grid().sequence) return all_gather_rows(ctx, tensor_ranks(ctx), x, token_rows(ctx));
    return copy_to_region(ctx, tensor_ranks(ctx), x);
}

Tensor from_row_parallel(LayerContext& ctx, const Tensor& part) {
    if (is_alone(ctx)) return part;
    if (ctx.mesh->grid().sequence) return reduce_scatter_rows(ctx, tensor_ranks(ctx), part, token_rows(ctx));
    return reduce_from_region(ctx, tensor_ranks(ctx), part);
}

Tensor scatter_tokens(LayerContext& ctx, const Tensor& x) {
    if (is_alone(ctx) || ctx.mesh->grid().sequence) return x;
    return scatter_to_region(ctx, tensor_ranks(ctx), x, token_rows(ctx));
}

Tensor gather_tokens(LayerContext& ctx, const Tensor& x) {
    if (is_alone(ctx) || ctx.mesh->grid().sequence) return x;
    return gather_from_region(ctx, tensor_ranks(ctx), x, token_rows(ctx));
}

ops::CombineHeadParts combine_head_parts(const LayerContext& ctx) {
    if (is_alone(ctx)) return {};
    return [&comm = tensor_ranks(ctx), allocator = ctx.allocator](const Tensor& lse,
                                                                  const Tensor& label_logits) {
        const int64_t tokens = lse.numel();
        const Tensor mine = Tensor::empty(*allocator, {2, tokens}, DType::f64);
        copy(lse, mine.rows(0, 1).view({tokens}));
        copy(label_logits, mine.rows(1, 1).view({tokens}));
        const Tensor all = all_gather_equal(*allocator, comm, mine);
        ops::combine_head_parts(all, lse, label_logits);
    };
}

bool reports_for_tensor_ranks(const LayerContext& ctx) {
    return is_alone(ctx) || ctx.mesh->grid().tensor.index == 0;
}

} // namespace braid
