#include <cmath>

#include "bench/gpu_cases.h"
#include "ops/attention/attention.h"
#include "ops/attention/rope.h"
#include "ops/basic/l2_norm.h"
#include "ops/basic/norm.h"
#include "ops/recurrence/causal_conv.h"

namespace braid::bench {
namespace {

constexpr DType kBf16 = DType::bf16;

/// Pairs of a query and a key it sees in a document of n tokens, in a window of w (0: none).
double visible_pairs(int64_t n, int64_t w) {
    const auto tokens = static_cast<double>(n), seen = static_cast<double>(w > 0 && w < n ? w : n);
    return seen * (seen + 1) / 2 + (tokens - seen) * seen;
}

/// Heads of attention: queries and keys of `dim` elements, values of `value_dim`.
struct Heads {
    int64_t queries, keys, dim, value_dim;
    Heads(int64_t queries, int64_t keys, int64_t dim) : Heads(queries, keys, dim, dim) {}
    Heads(int64_t queries, int64_t keys, int64_t dim, int64_t value_dim)
        : queries(queries), keys(keys), dim(dim), value_dim(value_dim) {}

    std::string shape() const {
        const std::string sizes =
            dim == value_dim ? fmt::format("{}", dim) : fmt::format("{} and {}", dim, value_dim);
        return fmt::format("heads {}/{} of {}", queries, keys, sizes);
    }
};

/// Forward: products of d and dv for each visible pair of tokens and query head, 2 (d + dv) FLOPs a pair; q,
/// k, v are read and o is written, b (Hq + Hkv) (d + dv) bytes a token. Backward: three products of d, since
/// the logits are made anew, and two of dv, 6 d + 4 dv FLOPs a pair; q, k, v, o, do are read and dq, dk, dv
/// written, b (2 Hq + 2 Hkv) (d + dv) bytes a token.
void add_attention(std::vector<GpuCase>& cases, int64_t sequences, int64_t length, const Heads& heads,
                   int64_t window = 0) {
    const int64_t tokens = sequences * length;
    const double pairs = static_cast<double>(sequences * heads.queries) * visible_pairs(length, window);
    const auto d = static_cast<double>(heads.dim), dv = static_cast<double>(heads.value_dim);
    const double bytes = 2.0 * static_cast<double>(tokens * (heads.queries + heads.keys)) * (d + dv);
    const int64_t dim = heads.dim;
    const std::string shape = fmt::format("{} x {}, {}, {}", sequences, length, heads.shape(),
                                          window > 0 ? fmt::format("window {}", window) : "causal");
    add_both(cases, fmt::format("attention.d{}", dim), shape, {2 * (d + dv) * pairs, bytes},
             {(6 * d + 4 * dv) * pairs, 2 * bytes}, [=](Rig& rig) -> Operation {
                 const Tensor q = rig.random({tokens, heads.queries, dim}, kBf16),
                              k = rig.random({tokens, heads.keys, dim}, kBf16),
                              v = rig.random({tokens, heads.keys, heads.value_dim}, kBf16);
                 const DocumentsPtr documents = equal_documents(sequences, length);
                 const ops::AttentionOptions options{.scale = 1 / std::sqrt(static_cast<double>(dim)),
                                                     .window = window};
                 return
                     [=](Context& ctx) { return Values{ops::attention(ctx, q, k, v, documents, options)}; };
             });
}

/// A token more of each of `sequences` that have `earlier` tokens: reads all keys and values, b Hkv (d + dv)
/// bytes a token; queries and outputs are too few to count. As generation calls it, without a tape.
void add_decoding(std::vector<GpuCase>& cases, int64_t sequences, int64_t earlier, const Heads& heads) {
    const int64_t seen = earlier + 1, keys = sequences * seen;
    const double sizes = static_cast<double>(heads.dim + heads.value_dim);
    const std::string shape = fmt::format("{} x 1 after {}, {}", sequences, earlier, heads.shape());
    cases.push_back(
        {"attention.decode",
         shape,
         {2 * static_cast<double>(keys * heads.queries) * sizes,
          2 * static_cast<double>(keys * heads.keys) * sizes},
         [=](Rig& rig) -> Measured {
             const Tensor q = rig.random({sequences, heads.queries, heads.dim}, kBf16),
                          k = rig.random({keys, heads.keys, heads.dim}, kBf16),
                          v = rig.random({keys, heads.keys, heads.value_dim}, kBf16);
             const DocumentsPtr documents = equal_documents(sequences, 1),
                                of_keys = equal_documents(sequences, seen);
             const ops::AttentionOptions options{.scale = 1 / std::sqrt(static_cast<double>(heads.dim))};
             return {[] {}, [=, &rig] { ops::attention(rig.ctx, q, k, v, documents, of_keys, options); }};
         }});
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

} // namespace

std::vector<GpuCase> sequence_cases(bool small) {
    std::vector<GpuCase> cases;
    if (small) {
        for (const int64_t dim : {64, 128, 256}) add_attention(cases, 2, 48, {2, 1, dim});
        add_attention(cases, 1, 48, {2, 1, 64}, 7);
        add_attention(cases, 1, 48, {2, 2, 192, 128});
        add_decoding(cases, 3, 40, {2, 1, 64});
        add_norms(cases, 16, 64, {16, 2, 32}, {16, 2, 32});
        add_positions(cases, {16, 2, 32}, {16, 64});
        return cases;
    }
    constexpr int64_t kLong = 32768;
    for (const auto& [sequences, length] : {std::pair<int64_t, int64_t>{4, 2048}, {1, 8192}, {1, kLong}}) {
        add_attention(cases, sequences, length, {64, 8, 64});  // as GPT-OSS
        add_attention(cases, sequences, length, {64, 8, 128}); // as published figures of attention kernels
        add_attention(cases, sequences, length, {32, 4, 128}); // as Qwen3-30B-A3B
        add_attention(cases, sequences, length, {16, 2, 256}); // as Qwen3-Next
    }
    add_attention(cases, 1, kLong, {64, 8, 64}, 128);   // the other layers of GPT-OSS
    add_attention(cases, 1, kLong, {64, 8, 128}, 4096); // as OLMo 3
    add_attention(cases, 128, 256, {32, 4, 128});       // short documents, packed
    add_attention(cases, 1, kLong, {32, 32, 192, 128}); // multi-head latent attention as in Kimi Linear
    add_decoding(cases, 64, 8192, {32, 4, 128});
    add_decoding(cases, 64, 8192, {16, 2, 256});
    add_norms(cases, kLong, 2048, {kLong, 16, 256}, {kLong, 32, 128});
    add_positions(cases, {kLong, 16, 256}, {kLong, 8192});
    return cases;
}

} // namespace braid::bench
