#include "bench/gpu_cases.h"
#include "ops/basic/reduce.h"
#include "ops/update/adamw.h"
#include "ops/update/muon.h"
#include "ops/update/newton_schulz.h"

namespace braid::bench {
namespace {

constexpr DType kF32 = DType::f32;

/// AdamW reads values, both moments and gradients and writes the first three, 28 bytes an element in f32.
GpuCase adamw(int64_t count) {
    return {"adamw", to_string(Shape{count}), {0, 28.0 * static_cast<double>(count), kF32}, [=](Rig& rig) {
                const Tensor values = rig.random({count}, kF32, 0.02),
                             first = Tensor::zeros(rig.allocator, {count}, kF32),
                             second = Tensor::zeros(rig.allocator, {count}, kF32),
                             gradients = rig.random({count}, kF32, 1e-3);
                const ops::AdamWSection all{0, count, 1, 0.1};
                const auto sections = std::make_shared<ops::AdamWSections>(rig.allocator, std::span(&all, 1));
                const auto step = std::make_shared<int64_t>(0);
                return Measured{[] {},
                                [=] {
                                    ops::adamw(values, first, second, gradients, *sections,
                                               {.beta1 = 0.9,
                                                .beta2 = 0.95,
                                                .eps = 1e-8,
                                                .gradient_scale = 1,
                                                .step = ++*step,
                                                .lr = 1e-4});
                                }};
            }};
}

/// The copies in bf16 that operations read, made after an update: 4 bytes read and 2 written an element.
GpuCase round_values(int64_t rows, int64_t columns) {
    const auto count = static_cast<double>(rows * columns);
    return {"round_values", to_string(Shape{rows, columns}), {0, 6 * count}, [=](Rig& rig) {
                const auto store = std::make_shared<ParameterStore>();
                store->begin_unit("bench");
                ParameterSpec spec;
                spec.name = "weight";
                spec.shape = {rows, columns};
                store->declare(spec);
                store->allocate(rig.allocator, DType::bf16, false);
                store->unit(0).values.fill_zero();
                return Measured{[] {}, [=] { store->values_changed(); }};
            }};
}

/// A part of the gradient norm: every element is read, 4 bytes.
GpuCase sum_of_squares(int64_t count) {
    return {"sum_of_squares",
            to_string(Shape{count}),
            {0, 4.0 * static_cast<double>(count), kF32},
            [=](Rig& rig) {
                const Tensor x = rig.random({count}, kF32),
                             sum = Tensor::empty(rig.allocator, {1}, DType::f64);
                return Measured{[] {}, [=] { ops::sum_of_squares(x, sum); }};
            }};
}

/// Muon's momentum with Nesterov's look ahead: momentum and gradients are read, momentum and the look ahead
/// written, 16 bytes an element.
GpuCase muon_momentum(int64_t count) {
    return {"muon.momentum",
            to_string(Shape{count}),
            {0, 16.0 * static_cast<double>(count), kF32},
            [=](Rig& rig) {
                const Tensor momentum = Tensor::zeros(rig.allocator, {count}, kF32),
                             gradients = rig.random({count}, kF32),
                             ahead = Tensor::empty(rig.allocator, {count}, kF32);
                return Measured{[] {}, [=] { ops::muon_momentum(momentum, gradients, ahead, 0.95, 1); }};
            }};
}

/// Five Newton-Schulz steps in f32: FLOPs as ops::newton_schulz_flops counts them; each matrix read and
/// written once a step.
GpuCase newton_schulz(int64_t matrices, int64_t rows, int64_t columns) {
    constexpr int kSteps = 5;
    const auto count = static_cast<double>(matrices);
    const Work work{count * ops::newton_schulz_flops(rows, columns, kSteps),
                    kSteps * 8 * count * static_cast<double>(rows * columns), kF32};
    return {"muon.newton_schulz", to_string(Shape{matrices, rows, columns}), work, [=](Rig& rig) {
                const Tensor x = rig.random({matrices, rows, columns}, kF32);
                // In place: from the second repetition on the singular values are near 1, to the same work.
                return Measured{
                    [] {}, [=, &rig] { ops::newton_schulz(rig.allocator, x, ops::quintic_steps(kSteps)); }};
            }};
}

} // namespace

std::vector<GpuCase> optimizer_cases(bool small) {
    if (small)
        return {adamw(1000), round_values(16, 64), sum_of_squares(1000), muon_momentum(1000),
                newton_schulz(2, 16, 24)};
    constexpr int64_t kElements = int64_t{1} << 28;
    return {adamw(kElements),
            round_values(1 << 14, kElements >> 14),
            sum_of_squares(kElements),
            muon_momentum(kElements),
            newton_schulz(32, 768, 2048), // as experts
            newton_schulz(1, 2048, 8192)};
}

} // namespace braid::bench
