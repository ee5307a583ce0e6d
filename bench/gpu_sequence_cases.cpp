#include <cmath>

#include "bench/gpu_cases.h"
#include "ops/attention/attention.h"
#include "ops/attention/rope.h"
#include "ops/basic/l2_norm.h"
#include "ops/basic/norm.h"
#include "ops/recurrence/causal_conv.h"
#include "ops/recurrence/delta_decay.h"
#include "ops/recurrence/delta_rule.h"

namespace braid::bench {
namespace {

constexpr DType kBf16 = DType::bf16;

/// `count` documents of `length` tokens, each a sequence.
DocumentsPtr equal_documents(int64_t count, int64_t length) {
    Documents documents;
    documents.offsets = {0};
    for (int64_t i = 1; i <= count; ++i) documents.offsets.push_back(static_cast<int32_t>(i * length));
    documents.num_sequences = count;
    return std::make_shared<const Documents>(documents);
}

/// Pairs of a query and a key it sees in a document of n tokens, in a window of w (0: none).
double visible_pairs(int64_t n, int64_t w) {
    const auto tokens = static_cast<double>(n), seen = static_cast<double>(w > 0 && w < n ? w : n);
    return seen * (seen + 1) / 2 + (tokens - seen) * seen;
}

/// Forward: two products of d for each visible pair of tokens and query head, 4 d FLOPs a pair; q, k, v are
/// read and o is written, b (2 Hq + 2 Hkv) d bytes a token. Backward: five products, since the logits are
/// made anew, 10 d FLOPs a pair; q, k, v, o, do are read and dq, dk, dv written, b (4 Hq + 4 Hkv) d bytes a
/// token.
void add_attention(std::vector<GpuCase>& cases, int64_t sequences, int64_t length, int64_t heads,
                   int64_t kv_heads, int64_t dim, int64_t window = 0) {
    const int64_t tokens = sequences * length;
    const double pairs = static_cast<double>(sequences * heads) * visible_pairs(length, window);
    const auto d = static_cast<double>(dim);
    const double once = 2.0 * static_cast<double>(tokens * (heads + kv_heads) * dim);
    const std::string shape =
        fmt::format("{} x {}, heads {}/{} of {}, {}", sequences, length, heads, kv_heads, dim,
                    window > 0 ? fmt::format("window {}", window) : "causal");
    add_both(cases, fmt::format("attention.d{}", dim), shape, {4 * d * pairs, 2 * once},
             {10 * d * pairs, 4 * once}, [=](Rig& rig) -> Operation {
                 const Tensor q = rig.random({tokens, heads, dim}, kBf16),
                              k = rig.random({tokens, kv_heads, dim}, kBf16),
                              v = rig.random({tokens, kv_heads, dim}, kBf16);
                 const DocumentsPtr documents = equal_documents(sequences, length);
                 const ops::AttentionOptions options{.scale = 1 / std::sqrt(static_cast<double>(dim)),
                                                     .window = window};
                 return
                     [=](Context& ctx) { return Values{ops::attention(ctx, q, k, v, documents, options)}; };
             });
}

/// Model FLOPs as GatedDeltaNetLayer::forward_flops counts the recurrence: 8 dk dv per token and value head
/// forward, twice that backward. Forward reads q, k, v, g, beta and writes o; backward reads those and do,
/// and writes the gradients of the five. The states of chunks, which a chunked kernel also moves, do not
/// count.
void add_delta_rule(std::vector<GpuCase>& cases, int64_t tokens, int64_t key_heads, int64_t heads,
                    int64_t dim) {
    const auto t = static_cast<double>(tokens);
    const double flops = 8 * t * static_cast<double>(heads * dim * dim);
    const double keys = 2 * 2 * t * static_cast<double>(key_heads * dim), // q and k
        values = 2 * t * static_cast<double>(heads * dim), gates = 2 * 4 * t * static_cast<double>(heads);
    const std::string shape = fmt::format("1 x {}, heads {}/{} of {}", tokens, key_heads, heads, dim);
    add_both(cases, "delta_rule", shape, {flops, keys + 2 * values + gates},
             {2 * flops, 2 * keys + 3 * values + 2 * gates}, [=](Rig& rig) -> Operation {
                 // Near unit length, decays from e^-0.17 to e^-0.03: neither forgets all nor diverges.
                 const double unit = 0.9 / std::sqrt(static_cast<double>(dim));
                 const Tensor q = rig.random({tokens, key_heads, dim}, kBf16, unit),
                              k = rig.random({tokens, key_heads, dim}, kBf16, unit),
                              v = rig.random({tokens, heads, dim}, kBf16),
                              g = rig.random({tokens, heads}, DType::f32, 0.04, -0.1),
                              beta = rig.random({tokens, heads}, DType::f32, 0.25, 0.5);
                 const DocumentsPtr documents = equal_documents(1, tokens);
                 const double scale = 1 / std::sqrt(static_cast<double>(dim));
                 return [=](Context& ctx) {
                     return Values{ops::gated_delta_rule(ctx, q, k, v, g, beta, documents, scale)};
                 };
             });
}

/// An operation that reads n elements and writes n, in bf16: 2 b n bytes forward; backward reads dy and
/// `reread` times n elements and writes n.
void add_elementwise(std::vector<GpuCase>& cases, const std::string& name, const Shape& shape, double reread,
                     const std::function<Operation(Rig&, const Tensor&)>& make) {
    const double once = 2.0 * static_cast<double>(shape.numel());
    add_both(cases, name, to_string(shape), {0, 2 * once}, {0, (2 + reread) * once},
             [=](Rig& rig) { return make(rig, rig.random(shape, kBf16)); });
}

/// Norms read x and dy backward; the L2 norm reads what it gave instead of x, to the same bytes. Weights are
/// too small to count.
void add_norms(std::vector<GpuCase>& cases, int64_t tokens, int64_t hidden, const Shape& query_heads,
               const Shape& value_heads) {
    const auto rms_norm = [](Rig& rig, const Tensor& x) -> Operation {
        const Parameter* w = rig.parameter({x.dim(-1)}, ParameterRole::norm, 0.02, 1);
        return [=](Context& ctx) { return Values{ops::rms_norm(ctx, x, w, 1e-6, false)}; };
    };
    add_elementwise(cases, "rms_norm", {tokens, hidden}, 1, rms_norm);
    add_elementwise(cases, "qk_norm", query_heads, 1, rms_norm);
    add_elementwise(cases, "l2_norm", query_heads, 1, [](Rig&, const Tensor& x) -> Operation {
        return [=](Context& ctx) { return Values{ops::l2_norm(ctx, x)}; };
    });
    // x and gate are read, y is written; backward reads x, gate and dy and writes two gradients.
    const double once = 2.0 * static_cast<double>(value_heads.numel());
    add_both(cases, "gated_rms_norm", to_string(value_heads), {0, 3 * once}, {0, 5 * once},
             [=](Rig& rig) -> Operation {
                 const Tensor x = rig.random(value_heads, kBf16), gate = rig.random(value_heads, kBf16);
                 const Parameter* w = rig.parameter({value_heads[2]}, ParameterRole::norm, 0.02, 1);
                 return [=](Context& ctx) {
                     return Values{ops::gated_rms_norm(ctx, x, gate, w, 1e-6, ops::GateKind::silu)};
                 };
             });
}

void add_positions(std::vector<GpuCase>& cases, const Shape& query_heads, const Shape& channels) {
    const DocumentsPtr documents = equal_documents(1, query_heads[0]);
    add_elementwise(cases, "rope", query_heads, 0, [=](Rig&, const Tensor& x) -> Operation {
        return [=](Context& ctx) { return Values{ops::rope(ctx, x, documents, {})}; };
    });
    add_elementwise(cases, "causal_conv", channels, 1, [=](Rig& rig, const Tensor& x) -> Operation {
        const Parameter* w = rig.parameter({x.dim(1), 4}, ParameterRole::conv, 0.3);
        return [=](Context& ctx) { return Values{ops::causal_conv(ctx, x, w, documents, true)}; };
    });
}

/// Reads a in bf16 and writes g in f32, 6 bytes an element; backward reads a, g and dg and writes da, 12.
void add_decay(std::vector<GpuCase>& cases, int64_t tokens, int64_t heads) {
    const auto elements = static_cast<double>(tokens * heads);
    add_both(cases, "delta_decay", to_string(Shape{tokens, heads}), {0, 6 * elements}, {0, 12 * elements},
             [=](Rig& rig) -> Operation {
                 const Tensor a = rig.random({tokens, heads}, kBf16);
                 const Parameter* a_log = rig.parameter({heads}, ParameterRole::recurrent, 0.1, 1);
                 const Parameter* dt_bias = rig.parameter({heads}, ParameterRole::recurrent, 0.1, -3);
                 return [=](Context& ctx) { return Values{ops::delta_decay(ctx, a, a_log, dt_bias)}; };
             });
}

} // namespace

std::vector<GpuCase> sequence_cases(bool small) {
    std::vector<GpuCase> cases;
    if (small) {
        for (const int64_t dim : {64, 128, 256}) add_attention(cases, 2, 48, 2, 1, dim);
        add_attention(cases, 1, 48, 2, 1, 64, 7);
        add_delta_rule(cases, 80, 1, 2, 128);
        add_norms(cases, 16, 64, {16, 2, 32}, {16, 2, 32});
        add_positions(cases, {16, 2, 32}, {16, 64});
        add_decay(cases, 16, 2);
        return cases;
    }
    constexpr int64_t kLong = 32768;
    for (const auto& [sequences, length] : {std::pair<int64_t, int64_t>{4, 2048}, {1, 8192}, {1, kLong}}) {
        add_attention(cases, sequences, length, 64, 8, 64);  // as GPT-OSS
        add_attention(cases, sequences, length, 64, 8, 128); // as published figures of attention kernels
        add_attention(cases, sequences, length, 32, 4, 128); // as Qwen3-30B-A3B
        add_attention(cases, sequences, length, 16, 2, 256); // as Qwen3-Next
    }
    add_attention(cases, 1, kLong, 64, 8, 64, 128);   // the other layers of GPT-OSS
    add_attention(cases, 1, kLong, 64, 8, 128, 4096); // as OLMo 3
    add_attention(cases, 128, 256, 32, 4, 128);       // short documents, packed
    add_delta_rule(cases, 8192, 16, 32, 128);         // as Qwen3-Next, and all below
    add_delta_rule(cases, kLong, 16, 32, 128);
    add_norms(cases, kLong, 2048, {kLong, 16, 256}, {kLong, 32, 128});
    add_positions(cases, {kLong, 16, 256}, {kLong, 8192});
    add_decay(cases, kLong, 32);
    return cases;
}

} // namespace braid::bench
