#include "ops/basic/activation.h"

#include "ops/basic/activation_kernels.h"

namespace braid::ops {
namespace {

using Kind = ActivationKind;

Tensor activation(Context& ctx, const char* name, Kind kind, const Tensor& x) {
    ProfileScope scope(ctx.profiler, name);
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    device::activation(kind, x, y);
    if (ctx.tape)
        ctx.tape->record({name, {y.ref()}, {x}, [kind, x = x.ref()](const Backward& run) {
                              Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
                              device::activation_backward(kind, run.dy[0], run.saved[0], dx);
                              run.add(x, dx);
                          }});
    return y;
}

Tensor gated_linear_unit(Context& ctx, const char* name, Kind kind, const Tensor& x) {
    check(x.rank() == 2 && x.dim(1) % 2 == 0, "{}: expected [tokens, 2 size], found {}", name,
          to_string(x.shape()));
    ProfileScope scope(ctx.profiler, name);
    const int64_t size = x.dim(1) / 2;
    Tensor y = Tensor::empty(*ctx.allocator, {x.dim(0), size}, x.dtype());
    device::gated(kind, x.columns(0, size), x.columns(size, size), y);
    if (ctx.tape)
        ctx.tape->record({name, {y.ref()}, {x}, [kind, size, ref = x.ref()](const Backward& run) {
                              const Tensor& x = run.saved[0];
                              Tensor dx = Tensor::empty(*run.ctx.allocator, ref.shape, ref.dtype);
                              device::gated_backward(kind, run.dy[0], x.columns(0, size),
                                                     x.columns(size, size), dx.columns(0, size),
                                                     dx.columns(size, size));
                              run.add(ref, dx);
                          }});
    return y;
}

bool is_gate_of_groups(const Tensor& x, const Tensor& gate) {
    if (gate.shape() == Shape({x.dim(0), 1})) return true;
    return x.rank() == 3 && gate.shape() == Shape({x.dim(0), x.dim(1)});
}

} // namespace

Tensor silu(Context& ctx, const Tensor& x) {
    return activation(ctx, "silu", Kind::silu, x);
}

Tensor sigmoid(Context& ctx, const Tensor& x) {
    return activation(ctx, "sigmoid", Kind::sigmoid, x);
}

Tensor gelu(Context& ctx, const Tensor& x) {
    return activation(ctx, "gelu", Kind::gelu, x);
}

Tensor relu2(Context& ctx, const Tensor& x) {
    return activation(ctx, "relu2", Kind::relu2, x);
}

Tensor swiglu(Context& ctx, const Tensor& x) {
    return gated_linear_unit(ctx, "swiglu", Kind::silu, x);
}

Tensor geglu(Context& ctx, const Tensor& x) {
    return gated_linear_unit(ctx, "geglu", Kind::gelu, x);
}

Tensor sigmoid_gate(Context& ctx, const Tensor& x, const Tensor& gate) {
    const bool elementwise = gate.shape() == x.shape();
    check(elementwise || is_gate_of_groups(x, gate), "sigmoid_gate: a gate of shape {} does not fit {}",
          to_string(gate.shape()), to_string(x.shape()));
    ProfileScope scope(ctx.profiler, "sigmoid_gate");
    Tensor y = Tensor::empty(*ctx.allocator, x.shape(), x.dtype());
    if (elementwise)
        device::gated(Kind::sigmoid, gate, x, y);
    else
        device::sigmoid_gate_groups(x, gate, y);
    if (!ctx.tape) return y;
    ctx.tape->record(
        {"sigmoid_gate",
         {y.ref()},
         {x, gate},
         [elementwise, x = x.ref(), gate = gate.ref()](const Backward& run) {
             Tensor dx = Tensor::empty(*run.ctx.allocator, x.shape, x.dtype);
             Tensor dgate = Tensor::empty(*run.ctx.allocator, gate.shape, gate.dtype);
             if (elementwise)
                 device::gated_backward(Kind::sigmoid, run.dy[0], run.saved[1], run.saved[0], dgate, dx);
             else
                 device::sigmoid_gate_groups_backward(run.dy[0], run.saved[0], run.saved[1], dx, dgate);
             run.add(x, dx);
             run.add(gate, dgate);
         }});
    return y;
}

} // namespace braid::ops
