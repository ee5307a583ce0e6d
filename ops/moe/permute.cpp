#include "ops/moe/permute.h"

#include <limits>

#include "ops/moe/permute_kernels.h"

namespace braid::ops {

ExpertPlan make_expert_plan(Context& ctx, const Tensor& expert, int64_t num_experts, Choices choices) {
    check(expert.rank() == 2 && expert.is_contiguous(),
          "make_expert_plan: choices of shape {} are not [tokens, k]", to_string(expert.shape()));
    check(expert.dim(1) >= 1 && expert.numel() <= std::numeric_limits<int32_t>::max(),
          "make_expert_plan: {} choices have no place in 32 bits", to_string(expert.shape()));
    ProfileScope scope(ctx.profiler, "expert_plan");
    const int64_t rows = choices == Choices::all ? expert.numel() : device::num_choices(expert, num_experts);
    ExpertPlan plan{Tensor::empty(*ctx.allocator, {rows}, DType::i32),
                    Tensor::empty(*ctx.allocator, {expert.numel()}, DType::i32),
                    Tensor::zeros(*ctx.allocator, {num_experts + 1}, DType::i64), expert.dim(1)};
    device::make_expert_plan(expert, plan.order, plan.row_of_slot, plan.offsets);
    return plan;
}

Tensor permute(Context& ctx, const Tensor& h, const ExpertPlan& plan) {
    expect_shape(h, {plan.num_tokens(), h.dim(-1)}, "permute");
    ProfileScope scope(ctx.profiler, "permute");
    Tensor rows = Tensor::empty(*ctx.allocator, {plan.num_rows(), h.dim(1)}, h.dtype());
    device::permute(h, plan.order, plan.k, rows);
    if (ctx.tape)
        ctx.tape->record(
            {"permute", {rows.ref()}, {plan.row_of_slot}, [k = plan.k, h = h.ref()](const Backward& run) {
                 Tensor dh = Tensor::empty(*run.ctx.allocator, h.shape, h.dtype);
                 device::combine(run.dy[0], {}, run.saved[0], k, dh);
                 run.add(h, dh);
             }});
    return rows;
}

Tensor combine(Context& ctx, const Tensor& rows, const Tensor& weight, const ExpertPlan& plan) {
    const int64_t tokens = plan.num_tokens(), width = rows.dim(-1);
    expect_shape(rows, {plan.num_rows(), width}, "combine, rows");
    if (weight.defined()) expect_shape(weight, {tokens, plan.k}, "combine, weights");
    ProfileScope scope(ctx.profiler, "combine");
    Tensor y = Tensor::empty(*ctx.allocator, {tokens, width}, rows.dtype());
    device::combine(rows, weight, plan.row_of_slot, plan.k, y);
    if (!ctx.tape) return y;
    if (!weight.defined()) {
        ctx.tape->record(
            {"combine", {y.ref()}, {plan.order}, [k = plan.k, rows = rows.ref()](const Backward& run) {
                 Tensor drows = Tensor::empty(*run.ctx.allocator, rows.shape, rows.dtype);
                 device::permute(run.dy[0], run.saved[0], k, drows);
                 run.add(rows, drows);
             }});
        return y;
    }
    ctx.tape->record({"combine",
                      {y.ref()},
                      {rows, weight, plan.row_of_slot},
                      [k = plan.k, rows = rows.ref(), weight = weight.ref()](const Backward& run) {
                          Tensor drows = Tensor::empty(*run.ctx.allocator, rows.shape, rows.dtype);
                          Tensor dweight = Tensor::empty(*run.ctx.allocator, weight.shape, weight.dtype);
                          device::combine_backward(run.dy[0], run.saved[0], run.saved[1], run.saved[2], k,
                                                   drows, dweight);
                          run.add(rows, drows);
                          run.add(weight, dweight);
                      }});
    return y;
}

} // namespace braid::ops
