#include "ops/embedding.h"

#include "ops/kernels/embedding.h"

namespace braid::ops {
namespace {

void expect_ids_in_range(const Tensor& ids, int64_t size) {
    const auto id = ids.span<int32_t>();
    for (size_t t = 0; t < id.size(); ++t)
        if (id[t] < 0 || id[t] >= size)
            throw DataError("token {} at position {} of the batch is outside the vocabulary of {}", id[t], t,
                            size);
}

} // namespace

Tensor embedding(Context& ctx, const Tensor& ids, const Parameter* table) {
    check(table->shape().rank() == 2, "embedding: a table of shape {} is no matrix",
          to_string(table->shape()));
    expect_shape(ids, {ids.dim(0)}, "embedding, ids");
    expect_ids_in_range(ids, table->shape()[0]);
    ProfileScope scope(ctx.profiler, "embedding");
    Tensor y = Tensor::empty(*ctx.allocator, {ids.dim(0), table->shape()[1]}, table->value().dtype());
    cpu::embedding(ids, table->value(), y);
    if (ctx.tape)
        ctx.tape->record({"embedding", {y.ref()}, {ids}, nullptr, [table](const Backward& run) {
                              cpu::embedding_weight_gradient(run.saved[0], run.dy[0], table->gradient());
                          }});
    return y;
}

} // namespace braid::ops
