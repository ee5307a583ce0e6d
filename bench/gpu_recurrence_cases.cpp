#include <cmath>
#include <functional>

#include "bench/gpu_cases.h"
#include "ops/recurrence/delta_decay.h"
#include "ops/recurrence/delta_rule.h"
#include "ops/recurrence/linear_recurrence.h"

namespace braid::bench {
namespace {

constexpr DType kBf16 = DType::bf16;

/// A setting of the linear recurrence and its heads.
struct Setting {
    std::string name;
    int64_t key_heads, heads, key_dim, value_dim;
    bool per_channel = false; // decays of each channel of the keys, not of each head
    bool delta = false;       // the delta rule

    double keys() const { return static_cast<double>(key_heads * key_dim); }
    double values() const { return static_cast<double>(heads * value_dim); }
    /// Numbers of a state of all heads.
    double state() const { return static_cast<double>(heads * key_dim) * static_cast<double>(value_dim); }
    /// Decays and betas of a token, in f32.
    double gates() const {
        return static_cast<double>(heads * (per_channel ? key_dim : 1) + (delta ? heads : 0));
    }
    /// As the layers count them, forward, of a token: decay, outer product and q S; k S too with the delta
    /// rule.
    double flops() const { return (delta ? 8 : 5) * state(); }
    std::string shape() const {
        const std::string sizes =
            key_dim == value_dim ? fmt::format("{}", key_dim) : fmt::format("{} and {}", key_dim, value_dim);
        return fmt::format("heads {}/{} of {}", key_heads, heads, sizes);
    }

    ops::LinearRecurrence inputs(Rig& rig, int64_t tokens) const {
        // Keys near unit length, decays from e^-0.17 to e^-0.03: neither forgets all nor diverges.
        const double unit = 0.9 / std::sqrt(static_cast<double>(key_dim));
        const Shape decays = per_channel ? Shape{tokens, heads, key_dim} : Shape{tokens, heads};
        return {.q = rig.random({tokens, key_heads, key_dim}, kBf16, unit),
                .k = rig.random({tokens, key_heads, key_dim}, kBf16, unit),
                .v = rig.random({tokens, heads, value_dim}, kBf16),
                .log_decay = rig.random(decays, DType::f32, 0.04, -0.1),
                .beta = delta ? rig.random({tokens, heads}, DType::f32, 0.25, 0.5) : Tensor{},
                .scale = 1 / std::sqrt(static_cast<double>(key_dim))};
    }
};

using Recurrence = std::function<Tensor(Context&, const ops::LinearRecurrence&, const DocumentsPtr&)>;

/// Forward reads q, k, v, decays and beta and writes o; backward reads those and do, and writes the gradients
/// of the five, with twice the FLOPs. The states of chunks, which a chunked kernel also moves, do not count.
void add_training(std::vector<GpuCase>& cases, const std::string& name, int64_t tokens,
                  const Setting& setting, const Recurrence& recurrence) {
    const auto t = static_cast<double>(tokens);
    const double keys = 2 * 2 * t * setting.keys(), values = 2 * t * setting.values(),
                 gates = 4 * t * setting.gates(), flops = t * setting.flops();
    add_both(cases, name, fmt::format("1 x {}, {}", tokens, setting.shape()),
             {flops, keys + 2 * values + gates}, {2 * flops, 2 * keys + 3 * values + 2 * gates},
             [=](Rig& rig) -> Operation {
                 const ops::LinearRecurrence inputs = setting.inputs(rig, tokens);
                 const DocumentsPtr documents = equal_documents(1, tokens);
                 return [=](Context& ctx) { return Values{recurrence(ctx, inputs, documents)}; };
             });
}

/// By the kernels of the gated delta rule alone, as GatedDeltaNetLayer runs it.
void add_delta_rule(std::vector<GpuCase>& cases, int64_t tokens, const Setting& setting) {
    add_training(cases, "delta_rule", tokens, setting,
                 [](Context& ctx, const ops::LinearRecurrence& in, const DocumentsPtr& documents) {
                     return ops::gated_delta_rule(ctx, in.q, in.k, in.v, in.log_decay, in.beta, documents,
                                                  in.scale);
                 });
}

void add_recurrence(std::vector<GpuCase>& cases, int64_t tokens, const Setting& setting) {
    add_training(cases, "recurrence." + setting.name, tokens, setting,
                 [](Context& ctx, const ops::LinearRecurrence& in, const DocumentsPtr& documents) {
                     return ops::linear_recurrence(ctx, in, documents).o;
                 });
}

/// A token more of each of `sequences`: every state in f32 is read and written; a token's own numbers are too
/// few to count. As generation calls it, without a tape.
void add_decoding(std::vector<GpuCase>& cases, int64_t sequences, const Setting& setting) {
    const auto n = static_cast<double>(sequences);
    cases.push_back(
        {"recurrence." + setting.name + ".decode",
         fmt::format("{} x 1, {}", sequences, setting.shape()),
         {n * setting.flops(), 2 * 4 * n * setting.state()},
         [=](Rig& rig) -> Measured {
             const ops::LinearRecurrence inputs = setting.inputs(rig, sequences);
             const Tensor states =
                 rig.random({sequences, setting.heads, setting.key_dim, setting.value_dim}, DType::f32, 0.1);
             const DocumentsPtr documents = equal_documents(sequences, 1);
             return {[] {}, [=, &rig] { ops::linear_recurrence(rig.ctx, inputs, documents, states); }};
         }});
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

std::vector<GpuCase> recurrence_cases(bool small) {
    std::vector<GpuCase> cases;
    if (small) {
        const Setting kimi{"kda", 2, 2, 32, 32, true, true}, mamba{"mamba2", 1, 4, 32, 16};
        add_delta_rule(cases, 80, {"gdn", 1, 2, 128, 128, false, true});
        add_recurrence(cases, 80, kimi);
        add_recurrence(cases, 80, mamba);
        add_decoding(cases, 3, kimi);
        add_decay(cases, 16, 2);
        return cases;
    }
    constexpr int64_t kLong = 32768;
    const Setting kimi{"kda", 32, 32, 128, 128, true, true}, // as Kimi Linear
        gated_delta{"gdn", 16, 32, 128, 128, false, true},   // as Qwen3-Next
        mamba{"mamba2", 8, 64, 128, 64},                     // as Nemotron 3 Nano
        lightning{"lightning", 32, 32, 128, 128},            // decays of heads
        gated_linear{"gla", 4, 4, 256, 512, true};           // as 1.3B in arXiv:2312.06635
    for (const int64_t tokens : {int64_t{8192}, kLong}) {
        add_delta_rule(cases, tokens, gated_delta);
        for (const Setting& setting : {kimi, mamba, lightning, gated_linear})
            add_recurrence(cases, tokens, setting);
    }
    for (const Setting& setting : {gated_delta, kimi, mamba}) add_decoding(cases, 64, setting);
    add_decay(cases, kLong, 32);
    return cases;
}

} // namespace braid::bench
