#include "bench/gpu_cases.h"
#include "ops/basic/activation.h"
#include "ops/basic/elementwise.h"
#include "ops/basic/embedding.h"
#include "ops/basic/linear.h"
#include "ops/loss/cross_entropy.h"

namespace braid::bench {
namespace {

constexpr DType kBf16 = DType::bf16;

/// 2 T in out FLOPs forward, twice that backward. Input, weight and output in bf16; backward reads dy, x and
/// the weight, writes dx, and adds to a gradient in f32 (8 bytes).
void add_linear(std::vector<GpuCase>& cases, int64_t tokens, int64_t in, int64_t out) {
    const double t = static_cast<double>(tokens), i = static_cast<double>(in), o = static_cast<double>(out);
    const double flops = 2 * t * i * o, x = 2 * t * i, y = 2 * t * o, w = 2 * i * o;
    add_both(cases, "linear", fmt::format("{} tokens, {} to {}", tokens, in, out), {flops, x + w + y},
             {2 * flops, y + 2 * x + w + 4 * w}, [=](Rig& rig) -> Operation {
                 const Tensor h = rig.random({tokens, in}, kBf16);
                 const Parameter* weight = rig.parameter({out, in}, ParameterRole::matrix);
                 return [=](Context& ctx) { return Values{ops::linear(ctx, h, weight)}; };
             });
}

/// Head and loss: 2 T D V FLOPs forward and 4 T D V backward. That backward makes the logits anew, half as
/// much again, is a cost and not work. Bytes: hidden states, weight, gradient of the weight in f32; logits
/// need never exist as a whole.
void add_head(std::vector<GpuCase>& cases, int64_t tokens, int64_t hidden, int64_t words) {
    const double t = static_cast<double>(tokens), d = static_cast<double>(hidden),
                 v = static_cast<double>(words);
    const double flops = 2 * t * d * v, h = 2 * t * d, w = 2 * d * v;
    add_both(cases, "head", fmt::format("{} tokens of {}, {} words", tokens, hidden, words), {flops, h + w},
             {2 * flops, 2 * h + w + 4 * w}, [=](Rig& rig) -> Operation {
                 const Tensor states = rig.random({tokens, hidden}, kBf16);
                 const Tensor labels = rig.random_ids(tokens, words);
                 const Parameter* weight = rig.parameter({words, hidden}, ParameterRole::head);
                 return [=](Context& ctx) {
                     return Values{ops::linear_cross_entropy(ctx, states, weight, labels).cross_entropy};
                 };
             });
}

/// Forward reads T rows of the table and writes them; backward reads dy and adds to rows in f32. In text a
/// few words make up most of it, and their rows' sums are long.
void add_embedding(std::vector<GpuCase>& cases, int64_t tokens, int64_t hidden, int64_t words, bool as_text) {
    const auto elements = static_cast<double>(tokens * hidden);
    add_both(cases, as_text ? "embedding.text" : "embedding",
             fmt::format("{} tokens of {}, {} words", tokens, hidden, words), {0, 4 * elements},
             {0, (2 + 8) * elements}, [=](Rig& rig) -> Operation {
                 const Tensor ids = as_text ? rig.random_words(tokens, words) : rig.random_ids(tokens, words);
                 const Parameter* table = rig.parameter({words, hidden}, ParameterRole::embedding);
                 return [=](Context& ctx) { return Values{ops::embedding(ctx, ids, table)}; };
             });
}

/// The sum of a residual connection reads two and writes one; its gradient is dy itself, so there is no
/// backward. A sigmoid gate reads x and gate, and backward also dy, and writes two gradients.
void add_elementwise(std::vector<GpuCase>& cases, int64_t tokens, int64_t hidden) {
    const Shape shape{tokens, hidden};
    const double once = 2 * static_cast<double>(shape.numel());
    cases.push_back({"add.forward", to_string(shape), {0, 3 * once}, [=](Rig& rig) {
                         const Tensor a = rig.random(shape, kBf16), b = rig.random(shape, kBf16);
                         return forward_of(rig, [=](Context& ctx) { return Values{ops::add(ctx, a, b)}; });
                     }});
    add_both(cases, "sigmoid_gate", to_string(shape), {0, 3 * once}, {0, 5 * once},
             [=](Rig& rig) -> Operation {
                 const Tensor x = rig.random(shape, kBf16), gate = rig.random(shape, kBf16);
                 return [=](Context& ctx) { return Values{ops::sigmoid_gate(ctx, x, gate)}; };
             });
}

} // namespace

std::vector<GpuCase> dense_cases(bool small) {
    std::vector<GpuCase> cases;
    if (small) {
        add_linear(cases, 32, 64, 48);
        add_head(cases, 24, 32, 96);
        add_embedding(cases, 16, 32, 96, false);
        add_embedding(cases, 16, 32, 96, true);
        add_elementwise(cases, 16, 32);
        return cases;
    }
    constexpr int64_t kTokens = 32768, kHidden = 2048, kWords = 151936; // words of Qwen3
    add_linear(cases, kTokens, kHidden, 12352); // into gated DeltaNet of Qwen3-Next: q, k, v, z and gates
    add_linear(cases, kTokens, 4096, kHidden);  // out of attention or gated DeltaNet
    add_head(cases, 8192, kHidden, kWords);
    add_head(cases, kTokens, kHidden, kWords);
    add_embedding(cases, kTokens, kHidden, kWords, false);
    add_embedding(cases, kTokens, kHidden, kWords, true);
    add_elementwise(cases, kTokens, 4096);
    return cases;
}

} // namespace braid::bench
