#include "ops/basic/embedding.h"

#include "ops/basic/embedding_kernels.h"

namespace braid::ops {
void expect_ids_in_range(const Tensor& ids, int64_t size) {
    const auto id = ids.span<int32_t>();
    for (size_t t = 0; t < id.size(); ++t)
        if (id[t] < 0 || id[t] >= size)
            throw DataError("token {} at position {} of the batch is outside the vocabulary of {}", id[t], t,
                            size);
}

Tensor embedding(Context& ctx, const Tensor& ids, const Parameter* table) {
    check(table->shape().rank() == 2, "embedding: a table of shape {} is no matrix",
          to_string(table->shape()));
    expect_shape(ids, {ids.dim(0)}, "embedding, ids");
    const Partition& partition = table->sections()[0].partition;
    const int64_t first = partition.first_row();
    if (ids.device().kind == DeviceKind::cpu) expect_ids_in_range(ids, partition.global()[0]);
    ProfileScope scope(ctx.profiler, "embedding");
    Tensor y = Tensor::empty(*ctx.allocator, {ids.dim(0), table->shape()[1]}, table->compute_value().dtype());
    device::embedding(ids, first, table->compute_value(), y);
    if (ctx.tape)
        ctx.tape->record({"embedding", {y.ref()}, {ids}, nullptr, [table, first](const Backward& run) {
                              device::embedding_weight_gradient(run.saved[0], first, run.dy[0],
                                                                table->gradient());
                          }});
    return y;
}

} // namespace braid::ops
