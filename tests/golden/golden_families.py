"""The families of models that golden data is made of: how each is configured in transformers and in Braid, and whose
parameters are whose."""

import dataclasses

from golden_latent import LATENT_FAMILIES
from golden_maps import (ATTENTION, BASE, EXPERTS, GATED_ATTENTION, GDN_BY_KEY_HEAD, GDN_CONFIG, GDN_IN_ROWS,
                         GDN_YAML, MLP, OUTSIDE, QK_NORM, QKV_BIAS, ROUTER_BIAS, SHARED_GATE, Family, Sections, layer,
                         named, post_norms, pre_norms, rope, shared, yaml)

FAMILIES = dict(LATENT_FAMILIES)

MOE_CONFIG = {"moe_intermediate_size": 4, "num_experts": 4, "num_experts_per_tok": 2}
FAMILIES["qwen3_next"] = Family(
    "Qwen3NextForCausalLM", "Qwen3NextConfig",
    {**BASE, **GDN_CONFIG, **MOE_CONFIG, "shared_expert_intermediate_size": 5, "num_hidden_layers": 8,
     "rms_norm_eps": 1e-5, "norm_topk_prob": True, **rope(500.0, partial_rotary_factor=0.5)},
    yaml(f"""
model:
  vocab_size: 32
  hidden_size: 10
  num_layers: 8
  pattern: "(gdn+moe)*3, attn+moe"
  norm: {{type: rms, placement: pre, zero_centered: true, eps: 1.0e-5}}
  sublayers:
    gdn: {GDN_YAML}
    attn:
      type: attention
      num_heads: 4
      num_kv_heads: 2
      head_dim: 8
      qk_norm: per_head
      gate: elementwise
      rope: {{theta: 500, fraction: 0.5}}
    moe: {{type: moe, num_experts: 4, experts_per_token: 2, expert_size: 4, shared_size: 5, shared_gate: true}}
"""),
    ([layer(GDN_BY_KEY_HEAD, EXPERTS, shared("shared_expert"), SHARED_GATE, pre_norms("gdn", "moe"))] * 3
     + [layer(GATED_ATTENTION, EXPERTS, shared("shared_expert"), SHARED_GATE, pre_norms("attn", "moe"))]) * 2,
    OUTSIDE, zero_centered=True)

FAMILIES["qwen3_5_moe"] = dataclasses.replace(
    FAMILIES["qwen3_next"], model_class="Qwen3_5MoeForCausalLM", config_class="Qwen3_5MoeTextConfig",
    config={key: value for key, value in FAMILIES["qwen3_next"].config.items() if key != "norm_topk_prob"},
    layers=([layer(GDN_IN_ROWS, EXPERTS, shared("shared_expert"), SHARED_GATE, pre_norms("gdn", "moe"))] * 3
            + [layer(GATED_ATTENTION, EXPERTS, shared("shared_expert"), SHARED_GATE, pre_norms("attn", "moe"))]) * 2)

FAMILIES["qwen3_5"] = Family(
    "Qwen3_5ForCausalLM", "Qwen3_5TextConfig",
    {**BASE, **GDN_CONFIG, "intermediate_size": 10, "num_hidden_layers": 8, "rms_norm_eps": 1e-4,
     "tie_word_embeddings": True, **rope(500.0, partial_rotary_factor=0.5)},
    yaml(f"""
model:
  vocab_size: 32
  hidden_size: 10
  num_layers: 8
  pattern: "(gdn+mlp)*3, attn+mlp"
  tie_embeddings: true
  norm: {{type: rms, placement: pre, zero_centered: true, eps: 1.0e-4}}
  sublayers:
    gdn: {GDN_YAML}
    attn:
      type: attention
      num_heads: 4
      num_kv_heads: 2
      head_dim: 8
      qk_norm: per_head
      gate: elementwise
      rope: {{theta: 500, fraction: 0.5}}
    mlp: {{type: mlp, size: 10, activation: swiglu}}
"""),
    ([layer(GDN_IN_ROWS, MLP, pre_norms("gdn", "mlp"))] * 3
     + [layer(GATED_ATTENTION, MLP, pre_norms("attn", "mlp"))]) * 2,
    {name: ours for name, ours in OUTSIDE.items() if name != "lm_head.weight"}, zero_centered=True)

FAMILIES["qwen3_moe"] = Family(
    "Qwen3MoeForCausalLM", "Qwen3MoeConfig",
    {**BASE, "moe_intermediate_size": 6, "num_experts": 6, "num_experts_per_tok": 3, "num_hidden_layers": 2,
     "rms_norm_eps": 1e-5, "norm_topk_prob": True, **rope(2000.0)},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 2
  pattern: "attn+moe"
  norm: {type: rms, placement: pre, eps: 1.0e-5}
  sublayers:
    attn: {type: attention, num_heads: 4, num_kv_heads: 2, head_dim: 8, qk_norm: per_head, rope: {theta: 2000}}
    moe: {type: moe, num_experts: 6, experts_per_token: 3, expert_size: 6, router: {normalize: true}}
"""),
    [layer(ATTENTION, QK_NORM, EXPERTS, pre_norms("attn", "moe"))] * 2, OUTSIDE)

FAMILIES["olmo2"] = Family(
    "Olmo2ForCausalLM", "Olmo2Config",
    {**BASE, "intermediate_size": 18, "num_hidden_layers": 2, "rms_norm_eps": 1e-4, **rope(700.0)},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 2
  pattern: "attn+mlp"
  norm: {type: rms, placement: post, eps: 1.0e-4}
  sublayers:
    attn: {type: attention, num_heads: 4, num_kv_heads: 2, head_dim: 8, qk_norm: full, rope: {theta: 700}}
    mlp: {type: mlp, size: 18, activation: swiglu}
"""),
    [layer(ATTENTION, QK_NORM, MLP, post_norms("attn", "mlp"))] * 2, OUTSIDE)

# The released model for long texts has these positions in its layers without a window.
OLMO_YARN = {"factor": 8.0, "original_max_position_embeddings": 60, "beta_fast": 1.5, "beta_slow": 0.1}
FAMILIES["olmo3"] = Family(
    "Olmo3ForCausalLM", "Olmo3Config",
    {**BASE, "intermediate_size": 10, "num_hidden_layers": 8, "rms_norm_eps": 1e-5, "sliding_window": 5,
     "rope_parameters": {"sliding_attention": rope(700.0)["rope_parameters"],
                         "full_attention": rope(700.0, rope_type="yarn", **OLMO_YARN)["rope_parameters"]}},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 8
  pattern: "(local+mlp)*3, full+mlp"
  norm: {type: rms, placement: post, eps: 1.0e-5}
  sublayers:
    local:
      type: attention
      num_heads: 4
      num_kv_heads: 2
      head_dim: 8
      qk_norm: full
      rope: {theta: 700}
      window: 5
    full:
      like: local
      rope: {scaling: {type: yarn, factor: 8, original_length: 60, beta_fast: 1.5, beta_slow: 0.1}}
      window: 0
    mlp: {type: mlp, size: 10, activation: swiglu}
"""),
    ([layer(named({**ATTENTION, **QK_NORM}, "attn", "local"), MLP, post_norms("local", "mlp"))] * 3
     + [layer(named({**ATTENTION, **QK_NORM}, "attn", "full"), MLP, post_norms("full", "mlp"))]) * 2, OUTSIDE)

LLAMA3 = {"factor": 4.0, "original_max_position_embeddings": 40, "low_freq_factor": 0.25, "high_freq_factor": 3.0}
FAMILIES["llama"] = Family(
    "LlamaForCausalLM", "LlamaConfig",
    {**BASE, "intermediate_size": 18, "num_hidden_layers": 2, "rms_norm_eps": 1e-5,
     **rope(300.0, rope_type="llama3", **LLAMA3)},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 2
  pattern: "attn+mlp"
  norm: {type: rms, placement: pre, eps: 1.0e-5}
  sublayers:
    attn:
      type: attention
      num_heads: 4
      num_kv_heads: 2
      head_dim: 8
      rope:
        theta: 300
        scaling: {type: llama3, factor: 4, original_length: 40, low_freq_factor: 0.25, high_freq_factor: 3}
    mlp: {type: mlp, size: 18, activation: swiglu}
"""),
    [layer(ATTENTION, MLP, pre_norms("attn", "mlp"))] * 2, OUTSIDE)

FAMILIES["mixtral"] = Family(
    "MixtralForCausalLM", "MixtralConfig",
    {**BASE, "intermediate_size": 10, "num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 2,
     "rms_norm_eps": 1e-5, "sliding_window": 6, **rope(400.0)},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 2
  pattern: "attn+moe"
  norm: {type: rms, placement: pre, eps: 1.0e-5}
  sublayers:
    attn: {type: attention, num_heads: 4, num_kv_heads: 2, head_dim: 8, window: 6, rope: {theta: 400}}
    moe: {type: moe, num_experts: 4, experts_per_token: 2, expert_size: 10, router: {normalize: true}}
"""),
    [layer(ATTENTION, EXPERTS, pre_norms("attn", "moe"))] * 2, OUTSIDE)

# transformers takes the size of a head from hidden_size here.
SMALL_HEADS = {**{key: value for key, value in BASE.items() if key != "head_dim"}, "hidden_size": 16}
FAMILIES["olmoe"] = Family(
    "OlmoeForCausalLM", "OlmoeConfig",
    {**SMALL_HEADS, "intermediate_size": 6, "num_experts": 6, "num_experts_per_tok": 3, "num_hidden_layers": 2,
     "rms_norm_eps": 1e-5, "norm_topk_prob": False, "clip_qkv": None, **rope(400.0)},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 16
  num_layers: 2
  pattern: "attn+moe"
  norm: {type: rms, placement: pre, eps: 1.0e-5}
  sublayers:
    attn: {type: attention, num_heads: 4, num_kv_heads: 2, head_dim: 4, qk_norm: full, rope: {theta: 400}}
    moe: {type: moe, num_experts: 6, experts_per_token: 3, expert_size: 6, router: {normalize: false}}
"""),
    [layer(ATTENTION, QK_NORM, EXPERTS, pre_norms("attn", "moe"))] * 2, OUTSIDE)

FAMILIES["glm4_moe"] = Family(
    "Glm4MoeForCausalLM", "Glm4MoeConfig",
    {**BASE, "intermediate_size": 18, "moe_intermediate_size": 6, "n_routed_experts": 6, "num_experts_per_tok": 2,
     "n_shared_experts": 1, "routed_scaling_factor": 1.7, "first_k_dense_replace": 1, "num_hidden_layers": 3,
     "use_qk_norm": True, "attention_bias": True, "num_mtp_layers": 0, "rms_norm_eps": 1e-5, "norm_topk_prob": True,
     **rope(500.0, partial_rotary_factor=0.5)},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 3
  pattern_head: "attn+mlp"
  pattern: "attn+moe"
  norm: {type: rms, placement: pre, eps: 1.0e-5}
  sublayers:
    attn:
      type: attention
      num_heads: 4
      num_kv_heads: 2
      head_dim: 8
      qk_norm: per_head
      rope: {theta: 500, fraction: 0.5}
      bias: [q, k, v]
    mlp: {type: mlp, size: 18, activation: swiglu}
    moe:
      type: moe
      num_experts: 6
      experts_per_token: 2
      expert_size: 6
      shared_size: 6
      router: {score: sigmoid, normalize: true, scale: 1.7, bias_update_rate: 1.0e-3}
"""),
    [layer(ATTENTION, QKV_BIAS, QK_NORM, MLP, pre_norms("attn", "mlp"))]
    + [layer(ATTENTION, QKV_BIAS, QK_NORM, EXPERTS, shared("shared_experts"), pre_norms("attn", "moe"))] * 2, OUTSIDE,
    buffers=ROUTER_BIAS, set_off="multi-token prediction")

SANDWICH = {"input_layernorm.weight": "attn.pre_norm.weight", "post_attention_layernorm.weight":
            "attn.post_norm.weight", "pre_feedforward_layernorm.weight": "mlp.pre_norm.weight",
            "post_feedforward_layernorm.weight": "mlp.post_norm.weight"}
GEMMA_LOCAL = named(layer(ATTENTION, SANDWICH), "attn", "local")
GEMMA_FULL = named(layer(ATTENTION, SANDWICH), "attn", "full")
FAMILIES["gemma2"] = Family(
    "Gemma2ForCausalLM", "Gemma2Config",
    {**BASE, "intermediate_size": 18, "num_hidden_layers": 4, "rms_norm_eps": 1e-5, "sliding_window": 5,
     "query_pre_attn_scalar": 8, "final_logit_softcapping": 2.0, "attn_logit_softcapping": None,
     "tie_word_embeddings": True, **rope(600.0)},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 4
  pattern: "local+mlp, full+mlp"
  tie_embeddings: true
  norm: {type: rms, placement: sandwich, zero_centered: true, eps: 1.0e-5}
  head: {softcap: 2}
  sublayers:
    full: {type: attention, num_heads: 4, num_kv_heads: 2, head_dim: 8, rope: {theta: 600}}
    local: {like: full, window: 5}
    mlp: {type: mlp, size: 18, activation: geglu}
"""),
    [layer(GEMMA_LOCAL, MLP), layer(GEMMA_FULL, MLP)] * 2,
    {name: ours for name, ours in OUTSIDE.items() if name != "lm_head.weight"}, zero_centered=True,
    set_off="softcap of attention scores, scale of embeddings, and scales of scores other than that of head_dim, which "
            "Braid has no key for")

MAMBA = {"norm.weight": "mamba.pre_norm.weight", "mixer.dt_bias": "mamba.dt_bias", "mixer.A_log": "mamba.a_log",
         "mixer.D": "mamba.d", "mixer.norm.weight": "mamba.norm.weight", "mixer.out_proj.weight": "mamba.out.weight",
         "mixer.in_proj.weight": Sections(1, {"mamba.z.weight": 24, "mamba.x.weight": 24, "mamba.b.weight": 10,
                                              "mamba.c.weight": 10, "mamba.dt.weight": 4}),
         "mixer.conv1d.weight": Sections(1, {"mamba.conv_x.weight": 24, "mamba.conv_b.weight": 10,
                                             "mamba.conv_c.weight": 10}),
         "mixer.conv1d.bias": Sections(1, {"mamba.conv_x.bias": 24, "mamba.conv_b.bias": 10, "mamba.conv_c.bias": 10})}
FAMILIES["nemotron_h"] = Family(
    "NemotronHForCausalLM", "NemotronHConfig",
    {**BASE, "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"] * 2, "intermediate_size": 10,
     "ssm_state_size": 5, "mamba_num_heads": 4, "mamba_head_dim": 6, "n_groups": 2, "conv_kernel": 4, "chunk_size": 16,
     "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 6, "routed_scaling_factor": 1.7,
     "moe_shared_expert_intermediate_size": 7, "layer_norm_epsilon": 1e-5},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 8
  pattern: "mamba, moe, attn, mlp"
  norm: {type: rms, placement: pre, eps: 1.0e-5}
  sublayers:
    mamba: {type: mamba2, num_heads: 4, head_dim: 6, state_size: 5, num_groups: 2}
    attn: {type: attention, num_heads: 4, num_kv_heads: 2, head_dim: 8, rope: {fraction: 0}}
    mlp: {type: mlp, size: 10, activation: relu2}
    moe:
      type: moe
      num_experts: 4
      experts_per_token: 2
      expert_size: 6
      shared_size: 7
      activation: relu2
      router: {score: sigmoid, normalize: true, scale: 1.7, bias_update_rate: 1.0e-3}
"""),
    [MAMBA,
     {"norm.weight": "moe.pre_norm.weight", "mixer.gate.weight": "moe.router.weight",
      "mixer.experts.up_proj": "moe.experts.up.weight", "mixer.experts.down_proj": "moe.experts.down.weight",
      "mixer.shared_experts.up_proj.weight": "moe.shared.up.weight",
      "mixer.shared_experts.down_proj.weight": "moe.shared.down.weight"},
     {"norm.weight": "attn.pre_norm.weight", "mixer.q_proj.weight": "attn.q.weight", "mixer.k_proj.weight":
      "attn.k.weight", "mixer.v_proj.weight": "attn.v.weight", "mixer.o_proj.weight": "attn.out.weight"},
     {"norm.weight": "mlp.pre_norm.weight", "mixer.up_proj.weight": "mlp.up.weight", "mixer.down_proj.weight":
      "mlp.down.weight"}] * 2,
    {"model.embeddings.weight": "embedding.weight", "model.norm_f.weight": "final_norm.weight",
     "lm_head.weight": "head.weight"},
    buffers={"mixer.gate.e_score_correction_bias": "moe.router.bias"}, set_off="experts on a latent, as in Super")

LFM_MLP = {"feed_forward.w1.weight": "mlp.gate.weight", "feed_forward.w3.weight": "mlp.up.weight",
           "feed_forward.w2.weight": "mlp.down.weight", "ffn_norm.weight": "mlp.pre_norm.weight"}
LFM_CONV = {"conv.in_proj.weight": Sections(1, {"conv.b.weight": 16, "conv.c.weight": 16, "conv.x.weight": 16}),
            "conv.conv.weight": Sections(1, {"conv.conv.weight": 16}), "conv.out_proj.weight": "conv.out.weight",
            "operator_norm.weight": "conv.pre_norm.weight"}
LFM_ATTENTION = {f"self_attn.{part}_proj.weight": f"attn.{part}.weight" for part in ("q", "k", "v", "out")} | {
    "self_attn.q_layernorm.weight": "attn.q_norm.weight", "self_attn.k_layernorm.weight": "attn.k_norm.weight",
    "operator_norm.weight": "attn.pre_norm.weight"}
FAMILIES["lfm2"] = Family(
    "Lfm2ForCausalLM", "Lfm2Config",
    {**SMALL_HEADS, "intermediate_size": 10, "num_hidden_layers": 6, "block_auto_adjust_ff_dim": False,
     "full_attn_idxs": [2, 5], "conv_L_cache": 3, "norm_eps": 1e-5, "tie_word_embeddings": True, **rope(600.0)},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 16
  num_layers: 6
  pattern: "(conv+mlp)*2, attn+mlp"
  tie_embeddings: true
  norm: {type: rms, placement: pre, eps: 1.0e-5}
  sublayers:
    conv: {type: short_conv, kernel: 3}
    attn: {type: attention, num_heads: 4, num_kv_heads: 2, head_dim: 4, qk_norm: per_head, rope: {theta: 600}}
    mlp: {type: mlp, size: 10, activation: swiglu}
"""),
    ([layer(LFM_CONV, LFM_MLP)] * 2 + [layer(LFM_ATTENTION, LFM_MLP)]) * 2,
    {"model.embed_tokens.weight": "embedding.weight", "model.embedding_norm.weight": "final_norm.weight"})

# OLMo Hybrid: norms before both sublayers of a recurrent layer, after those of a layer of attention.
OLMO_GDN = {f"linear_attn.{theirs}_proj.weight": f"gdn.{ours}.weight"
            for theirs, ours in (("q", "q"), ("k", "k"), ("v", "v"), ("g", "z"), ("a", "a"), ("b", "b"), ("o", "out"))}
OLMO_GDN |= {"linear_attn.A_log": "gdn.a_log", "linear_attn.dt_bias": "gdn.dt_bias",
             "linear_attn.o_norm.weight": "gdn.norm.weight",
             "linear_attn.conv1d.weight": Sections(1, {"gdn.conv_q.weight": 12, "gdn.conv_k.weight": 12,
                                                       "gdn.conv_v.weight": 15})}
FAMILIES["olmo_hybrid"] = Family(
    "OlmoHybridForCausalLM", "OlmoHybridConfig",
    {**SMALL_HEADS, "intermediate_size": 10, "num_hidden_layers": 8, "rms_norm_eps": 1e-4,
     "rope_parameters": {"rope_type": "default", "rope_theta": None},
     "linear_num_key_heads": 3, "linear_num_value_heads": 3, "linear_key_head_dim": 4, "linear_value_head_dim": 5,
     "linear_conv_kernel_dim": 4, "linear_allow_neg_eigval": True},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 16
  num_layers: 8
  pattern: "(gdn+mlp)*3, attn+post_mlp"
  norm: {type: rms, placement: pre, eps: 1.0e-4}
  sublayers:
    gdn:
      type: gated_delta_net
      num_key_heads: 3
      num_value_heads: 3
      key_head_dim: 4
      value_head_dim: 5
      negative_eigenvalues: true
      output_norm_eps: 1.0e-5
    attn:
      type: attention
      num_heads: 4
      num_kv_heads: 2
      head_dim: 4
      qk_norm: full
      rope: {fraction: 0}
      norm: {placement: post}
    mlp: {type: mlp, size: 10, activation: swiglu}
    post_mlp: {like: mlp, norm: {placement: post}}
"""),
    ([layer(OLMO_GDN, MLP, pre_norms("gdn", "mlp"))] * 3
     + [layer(ATTENTION, QK_NORM, named(MLP, "mlp", "post_mlp"), post_norms("attn", "post_mlp"))]) * 2, OUTSIDE)
