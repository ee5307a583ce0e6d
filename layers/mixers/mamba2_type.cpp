#include "layers/mixers/mamba2.h"

namespace braid {
namespace {

void check_mamba2(const Mamba2Config& m, SectionCheck& check) {
    if (m.dt_limits && (*m.dt_limits)[0] > (*m.dt_limits)[1])
        check.fail("dt_limits", "expected the smaller number first");
    if (m.num_heads % m.num_groups == 0) return;
    const int64_t below = m.num_heads / m.num_groups * m.num_groups, above = below + m.num_groups;
    check.fail(
        "num_heads",
        fmt::format("expected a multiple of num_groups ({}), found {}; nearest: {}", m.num_groups,
                    m.num_heads, below > 0 ? fmt::format("{} or {}", below, above) : std::to_string(above)));
}

const Schema<Mamba2Config>& mamba2_schema() {
    using M = Mamba2Config;
    static const Schema<M> schema =
        Schema<M>()
            .key("num_heads", &M::num_heads,
                 {.help = "heads",
                  .min = 1,
                  .max = kMaxHeads,
                  .required = true,
                  .aliases = {"mamba_num_heads", "n_mamba_heads"}})
            .key("head_dim", &M::head_dim,
                 {.help = "size of a head",
                  .min = 1,
                  .max = kMaxHeadDim,
                  .required = true,
                  .aliases = {"mamba_head_dim", "headdim"}})
            .key("state_size", &M::state_size,
                 {.help = "numbers of state for each number of a head",
                  .min = 1,
                  .max = kMaxHeadDim,
                  .required = true,
                  .aliases = {"ssm_state_size", "mamba_state_dim", "d_state"}})
            .key("num_groups", &M::num_groups,
                 {.help = "groups of heads that share B and C; a divisor of num_heads",
                  .min = 1,
                  .max = kMaxHeads,
                  .aliases = {"n_groups", "mamba_num_groups", "ngroups"}})
            .key("conv_kernel", &M::conv_kernel,
                 {.help = "taps of the causal convolution on x, B and C",
                  .min = 1,
                  .max = 64,
                  .aliases = {"d_conv"}})
            .key("conv_bias", &M::conv_bias,
                 {.help = "a bias on the convolution", .aliases = {"use_conv_bias"}})
            .key("gate", &M::gate,
                 {.help = "whether SiLU of the gate multiplies what is normed, or the norm's result",
                  .synonyms = "norm_before_gate=after_norm"})
            .key("output_norm_eps", &M::output_norm_eps,
                 {.help = "eps of the norm of each group's output",
                  .above = 0,
                  .max = 1,
                  .default_text = "that of the sublayer's norms"})
            .key("dt_limits", &M::dt_limits,
                 {.help = "least and largest time step",
                  .min = 0,
                  .max = 1e6,
                  .default_text = "none",
                  .aliases = {"time_step_limit", "dt_limit"},
                  .example = "[0.001, 0.1]"})
            .rule("num_groups divides num_heads; dt_limits has the smaller number first", check_mamba2);
    return schema;
}

void shrink(Mamba2Config& m) {
    shrink_heads(m.num_groups, m.num_heads);
    m.head_dim = 8;
    m.state_size = std::min<int64_t>(m.state_size, 8);
}

std::vector<SublayerType::Example> mamba2_examples() {
    const Mamba2Config plain{
        .num_heads = 4, .head_dim = 3, .state_size = 5, .num_groups = 2, .conv_kernel = 3};
    Mamba2Config other = plain;
    other.num_groups = 1;
    other.conv_bias = false;
    other.gate = Mamba2Gate::after_norm;
    other.output_norm_eps = 1e-2;
    Mamba2Config limited = plain;
    limited.dt_limits = {0.01, 0.03}; // steps start between 0.001 and 0.1
    return {{"mamba2", plain}, {"mamba2_gate_after_norm", other}, {"mamba2_dt_limits", limited}};
}

} // namespace

SublayerType mamba2_type() {
    SublayerType type =
        describe_sublayer<Mamba2Config, Mamba2Layer>("mamba2", mamba2_schema(), shrink, mamba2_examples());
    type.synonyms = "mamba ssd ssm";
    type.decays = true;
    return type;
}

} // namespace braid
