#include "ops/compose/scan.h"

#include "ops/compose/matrices_kernels.h"
#include "ops/compose/pointwise_kernels.h"
#include "ops/compose/scan_kernels.h"
#include "tensor/host_values.h"

namespace braid::ops {
namespace {

void expect_cover(const Documents& runs, int64_t count, const char* what) {
    check(runs.num_tokens() == count, "{}: runs of {} in all, given {}", what, runs.num_tokens(), count);
}

} // namespace

Tensor cumulative_sum(Context& ctx, const Tensor& x, const DocumentsPtr& documents) {
    expect_cover(*documents, x.dim(0), "cumulative_sum");
    ProfileScope scope(ctx.profiler, "cumulative_sum");
    const Tensor first = tensor_of(*ctx.allocator, documents->offsets);
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    device::cumulative_sum(x, first, false, y);
    if (ctx.tape)
        ctx.tape->record({"cumulative_sum", {y.ref()}, {first}, [x = x.ref()](const Backward& run) {
                              Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              device::cumulative_sum(run.dy[0], run.saved[0], true, dx);
                              run.add(x, dx);
                          }});
    return y;
}

ScannedStates scan_states(Context& ctx, const Tensor& decay, const Tensor& update, const DocumentsPtr& runs,
                          const Tensor& initial) {
    expect_cover(*runs, update.dim(0), "scan_states");
    expect_shape(decay, {update.dim(0), update.dim(1)}, "scan_states, decay");
    const Shape ends = {runs->num_documents(), update.dim(1), update.dim(2)};
    if (initial.defined()) expect_shape(initial, ends, "scan_states, initial");
    ProfileScope scope(ctx.profiler, "scan_states");
    const Tensor first = tensor_of(*ctx.allocator, runs->offsets);
    ScannedStates states{Tensor::empty(*ctx.allocator, update.shape(), update.dtype()),
                         Tensor::empty(*ctx.allocator, ends, update.dtype())};
    device::scan_states(update, decay, initial, first, states.before, states.last);
    if (!ctx.tape) return states;
    ctx.tape->record(
        {"scan_states",
         {states.before.ref(), states.last.ref()},
         {decay, first, states.before},
         [decay = decay.ref(), update = update.ref(),
          initial = initial.defined() ? std::optional(initial.ref()) : std::nullopt](const Backward& run) {
             Allocator& allocator = *run.ctx.allocator;
             const Tensor& before = run.saved[2];
             Tensor d_update = Tensor::empty(allocator, update.shape, update.dtype);
             Tensor d_initial = initial ? Tensor::empty(allocator, initial->shape, initial->dtype) : Tensor();
             device::scan_states_backward(d_update, run.saved[0], run.saved[1], run.dy[0], run.dy[1],
                                          d_initial);
             Tensor d_decay = Tensor::empty(allocator, decay.shape, decay.dtype);
             device::sum_rows_of_product(d_update, before, update.shape[2], d_decay);
             run.add(decay, d_decay);
             run.add(update, d_update);
             if (initial) run.add(*initial, d_initial);
         }});
    return states;
}

ScannedStates scan_matrices(Context& ctx, const Tensor& transition, const Tensor& update,
                            const DocumentsPtr& runs, const Tensor& initial) {
    expect_cover(*runs, update.dim(0), "scan_matrices");
    const int64_t heads = update.dim(1), rows = update.dim(2), columns = update.dim(3);
    expect_shape(transition, {update.dim(0), heads, rows, rows}, "scan_matrices, transition");
    const Shape ends = {runs->num_documents(), heads, rows, columns};
    if (initial.defined()) expect_shape(initial, ends, "scan_matrices, initial");
    ProfileScope scope(ctx.profiler, "scan_matrices");
    const Tensor first = tensor_of(*ctx.allocator, runs->offsets);
    ScannedStates states{Tensor::empty(*ctx.allocator, update.shape(), update.dtype()),
                         Tensor::empty(*ctx.allocator, ends, update.dtype())};
    device::scan_matrices(transition, update, initial, first, false, states.before, states.last);
    if (!ctx.tape) return states;
    ctx.tape->record(
        {"scan_matrices",
         {states.before.ref(), states.last.ref()},
         {transition, first, states.before},
         [transition = transition.ref(), update = update.ref(),
          initial = initial.defined() ? std::optional(initial.ref()) : std::nullopt](const Backward& run) {
             Allocator& allocator = *run.ctx.allocator;
             Tensor d_update = Tensor::empty(allocator, update.shape, update.dtype);
             Tensor d_initial = initial ? Tensor::empty(allocator, initial->shape, initial->dtype) : Tensor();
             device::scan_matrices(run.saved[0], run.dy[0], run.dy[1], run.saved[1], true, d_update,
                                   d_initial);
             // dA = dS Sᵀ, of every step and head.
             const int64_t rows = update.shape[2], columns = update.shape[3];
             const Shape matrices = {update.shape[0] * update.shape[1], rows, columns};
             Tensor d_transition = Tensor::empty(allocator, transition.shape, transition.dtype);
             device::batched_matmul(d_update.view(matrices), run.saved[2].view(matrices), false, true,
                                    d_transition.view({matrices[0], rows, rows}));
             run.add(transition, d_transition);
             run.add(update, d_update);
             if (initial) run.add(*initial, d_initial);
         }});
    return states;
}

} // namespace braid::ops
