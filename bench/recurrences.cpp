// The recurrences that mix tokens, forward and backward of one layer's core at equal heads, as ratios to the
// gated delta rule's time, and attention of equal width beside them. In one run, turn by turn.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "ops/attention/attention.h"
#include "ops/basic/l2_norm.h"
#include "ops/recurrence/delta_rule.h"
#include "ops/recurrence/linear_recurrence.h"
#include "tensor/segment.h"

namespace braid {
namespace {

constexpr int64_t kHeads = 8, kDim = 128;

Tensor made(Allocator& allocator, const Shape& shape, double scale, double shift) {
    Tensor x = Tensor::empty(allocator, shape, DType::f32);
    uint32_t state = 1;
    for (float& value : x.span<float>()) {
        state = state * 1664525 + 1013904223;
        value = static_cast<float>(shift + scale * (static_cast<double>(state >> 8) / (1 << 24) - 0.5));
    }
    return x;
}

struct Case {
    std::string name;
    std::function<Tensor(Context&, const Values&)> forward;
    double best = 1e30; // seconds
};

/// One forward and backward, in seconds.
double seconds_of(const Case& subject, Allocator& allocator, const Values& inputs) {
    const auto start = std::chrono::steady_clock::now();
    Tape tape;
    Context ctx;
    ctx.allocator = &allocator;
    ctx.tape = &tape;
    const Tensor o = subject.forward(ctx, inputs);
    Gradients gradients(allocator);
    gradients.add(o.ref(), inputs[2]);
    ctx.tape = nullptr;
    tape.backward(ctx, gradients);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void run(int64_t tokens, int repeats) {
    Allocator allocator;
    const DocumentsPtr documents = Documents::single(tokens);
    Context plain;
    plain.allocator = &allocator;
    const auto unit = [&](const Tensor& x) { return ops::l2_norm(plain, x); };
    const Values inputs = {unit(made(allocator, {tokens, kHeads, kDim}, 2, 0)),
                           unit(made(allocator, {tokens, kHeads, kDim}, 2, 0)),
                           made(allocator, {tokens, kHeads, kDim}, 2, 0),
                           made(allocator, {tokens, kHeads}, 0.1, -0.06),       // a log decay per head
                           made(allocator, {tokens, kHeads, kDim}, 0.1, -0.06), // and per channel
                           made(allocator, {tokens, kHeads}, 0.8, 0.5)};        // beta
    const double scale = 1 / std::sqrt(static_cast<double>(kDim));
    const auto recurrence = [&](int decay, bool delta) {
        return [=](Context& ctx, const Values& x) {
            return ops::linear_recurrence(ctx,
                                          {.q = x[0],
                                           .k = x[1],
                                           .v = x[2],
                                           .log_decay = decay ? x[static_cast<size_t>(decay)] : Tensor(),
                                           .beta = delta ? x[5] : Tensor(),
                                           .scale = scale},
                                          documents)
                .o;
        };
    };
    std::vector<Case> cases = {
        {"gated delta rule",
         [=](Context& ctx, const Values& x) {
             return ops::gated_delta_rule(ctx, x[0], x[1], x[2], x[3], x[5], documents, scale);
         }},
        {"delta rule",
         [=](Context& ctx, const Values& x) {
             return ops::gated_delta_rule(ctx, x[0], x[1], x[2], {}, x[5], documents, scale);
         }},
        {"delta rule, decay per channel (Kimi)", recurrence(4, true)},
        {"decay per head (Mamba-2, lightning)", recurrence(3, false)},
        {"decay per channel (GLA)", recurrence(4, false)},
        {"attention",
         [=](Context& ctx, const Values& x) {
             return ops::attention(ctx, x[0], x[1], x[2], documents, {.scale = scale});
         }},
    };
    for (int turn = 0; turn < repeats; ++turn)
        for (Case& subject : cases)
            subject.best = std::min(subject.best, seconds_of(subject, allocator, inputs));
    fmt::print("{} tokens, {} heads of {}, f32, forward and backward, best of {}\n", tokens, kHeads, kDim,
               repeats);
    for (const Case& subject : cases)
        fmt::print("{:40} {:8.1f} ms  {:6.2f}\n", subject.name, 1e3 * subject.best,
                   subject.best / cases[0].best);
}

} // namespace
} // namespace braid

int main(int argc, char** argv) {
    const auto argument = [&](int i, int64_t otherwise) {
        return argc > i ? std::strtoll(argv[i], nullptr, 10) : otherwise;
    };
    braid::run(argument(1, 8192), static_cast<int>(argument(2, 3)));
}
