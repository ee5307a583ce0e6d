"""The families of golden_families.py that have multi-head latent attention."""

import math

from golden_maps import (EXPERTS, FULL_QUERIES, HEAD_GATE, LOW_RANK_QUERIES, MLA, MLA_CONFIG, MLP, OUTSIDE, ROUTER_BIAS,
                         Family, Flat, Sections, layer, pre_norms, rope, shared, yaml)

LATENT_FAMILIES = {}

KDA = {f"self_attn.{part}_proj.weight": f"kda.{part}.weight" for part in "qkvb"} | {
    "self_attn.o_proj.weight": "kda.out.weight", "self_attn.o_norm.weight": "kda.norm.weight",
    "self_attn.conv1d.weight": Sections(1, {"kda.conv_q.weight": 12, "kda.conv_k.weight": 12, "kda.conv_v.weight": 12}),
    "self_attn.forget_gate.dt_bias": "kda.dt_bias", "self_attn.forget_gate.A_log": Flat("kda.a_log"),
    "self_attn.forget_gate.f_a_proj.weight": "kda.f_a.weight", "self_attn.forget_gate.f_b_proj.weight":
    "kda.f_b.weight", "self_attn.g_a_proj.weight": "kda.g_a.weight", "self_attn.g_b_proj.weight": "kda.g_b.weight"}
LATENT_FAMILIES["kimi_linear"] = Family(
    "KimiLinearForCausalLM", "KimiLinearConfig",
    {**MLA_CONFIG, "q_lora_rank": None, "intermediate_size": 18, "moe_intermediate_size": 6, "num_local_experts": 6,
     "num_experts_per_tok": 2, "n_shared_experts": 1, "routed_scaling_factor": 1.7, "num_hidden_layers": 4,
     "layer_types": ["linear_attention"] * 3 + ["full_attention"], "linear_head_dim": 4, "linear_num_heads": 3,
     "linear_conv_kernel_dim": 3, "rms_norm_eps": 1e-5},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 4
  pattern_head: "kda+mlp"
  pattern: "(kda+moe)*2, mla+moe"
  norm: {type: rms, placement: pre, eps: 1.0e-5}
  sublayers:
    kda: {type: kimi_delta, num_heads: 3, key_head_dim: 4, conv_kernel: 3}
    mla:
      type: mla
      num_heads: 3
      kv_rank: 10
      nope_head_dim: 6
      rope_head_dim: 8
      value_head_dim: 5
      latent_norm_eps: 1.0e-6
      rope: {fraction: 0}
    mlp: {type: mlp, size: 18, activation: swiglu}
    moe:
      type: moe
      num_experts: 6
      experts_per_token: 2
      expert_size: 6
      shared_size: 6
      router: {score: sigmoid, normalize: true, scale: 1.7, bias_update_rate: 1.0e-3}
"""),
    [layer(KDA, MLP, pre_norms("kda", "mlp"))]
    + [layer(KDA, EXPERTS, shared("shared_experts"), pre_norms("kda", "moe"))] * 2
    + [layer(MLA, FULL_QUERIES, EXPERTS, shared("shared_experts"), pre_norms("mla", "moe"))], OUTSIDE,
    buffers=ROUTER_BIAS)

DEEPSEEK_YARN = {"factor": 8.0, "original_max_position_embeddings": 40, "beta_fast": 1.5, "beta_slow": 0.3}
LATENT_FAMILIES["deepseek_v3"] = Family(
    "DeepseekV3ForCausalLM", "DeepseekV3Config",
    {**MLA_CONFIG, "intermediate_size": 18, "moe_intermediate_size": 4, "n_routed_experts": 9,
     "num_experts_per_tok": 3, "n_shared_experts": 1, "n_group": 3, "topk_group": 2, "routed_scaling_factor": 1.7,
     "first_k_dense_replace": 1, "num_hidden_layers": 3, "num_mtp_layers": 0, "rms_norm_eps": 1e-5,
     **rope(100.0, rope_type="yarn", mscale=0.8, mscale_all_dim=0.8, **DEEPSEEK_YARN)},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 3
  pattern_head: "mla+mlp"
  pattern: "mla+moe"
  norm: {type: rms, placement: pre, eps: 1.0e-5}
  sublayers:
    mla:
      type: mla
      num_heads: 3
      q_rank: 7
      kv_rank: 10
      nope_head_dim: 6
      rope_head_dim: 8
      value_head_dim: 5
      latent_norm_eps: 1.0e-6
      mscale: 0.8
      rope:
        theta: 100
        scaling: {type: yarn, factor: 8, original_length: 40, beta_fast: 1.5, beta_slow: 0.3}
    mlp: {type: mlp, size: 18, activation: swiglu}
    moe:
      type: moe
      num_experts: 9
      experts_per_token: 3
      expert_size: 4
      shared_size: 4
      router:
        score: sigmoid
        normalize: true
        scale: 1.7
        bias_update_rate: 1.0e-3
        num_groups: 3
        group_topk: 2
"""),
    [layer(MLA, LOW_RANK_QUERIES, MLP, pre_norms("mla", "mlp"))]
    + [layer(MLA, LOW_RANK_QUERIES, EXPERTS, shared("shared_experts"), pre_norms("mla", "moe"))] * 2, OUTSIDE,
    # With this seed some tokens would go to other experts if what is in no chosen group counted as 0 instead of -inf.
    buffers=ROUTER_BIAS, set_off="multi-token prediction", seed=71)

LATENT_FAMILIES["deepseek_v2"] = Family(
    "DeepseekV2ForCausalLM", "DeepseekV2Config",
    {**MLA_CONFIG, "intermediate_size": 18, "moe_intermediate_size": 4, "n_routed_experts": 9,
     "num_experts_per_tok": 3, "n_shared_experts": 2, "topk_method": "group_limited_greedy", "n_group": 3,
     "topk_group": 2, "routed_scaling_factor": 1.6, "first_k_dense_replace": 1, "num_hidden_layers": 3,
     "rms_norm_eps": 1e-5, **rope(100.0, rope_type="yarn", mscale=0.7, mscale_all_dim=0.7, **DEEPSEEK_YARN)},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 3
  pattern_head: "mla+mlp"
  pattern: "mla+moe"
  norm: {type: rms, placement: pre, eps: 1.0e-5}
  sublayers:
    mla:
      type: mla
      num_heads: 3
      q_rank: 7
      kv_rank: 10
      nope_head_dim: 6
      rope_head_dim: 8
      value_head_dim: 5
      latent_norm_eps: 1.0e-6
      mscale: 0.7
      rope:
        theta: 100
        scaling: {type: yarn, factor: 8, original_length: 40, beta_fast: 1.5, beta_slow: 0.3}
    mlp: {type: mlp, size: 18, activation: swiglu}
    moe:
      type: moe
      num_experts: 9
      experts_per_token: 3
      expert_size: 4
      shared_size: 8
      router: {score: softmax, normalize: false, scale: 1.6, num_groups: 3, group_topk: 2, group_score: max}
"""),
    [layer(MLA, LOW_RANK_QUERIES, MLP, pre_norms("mla", "mlp"))]
    + [layer(MLA, LOW_RANK_QUERIES, EXPERTS, shared("shared_experts"), pre_norms("mla", "moe"))] * 2, OUTSIDE,
    seed=26)  # some groups are others by the sum of their two best

# What the other families with latents leave at its default: halves instead of neighbours, a ramp that is not rounded,
# and a factor on what turns, which here is (0.1 ln 8 + 1) / (0.05 ln 8 + 1).
LATENT_FAMILIES["mistral4"] = Family(
    "Mistral4ForCausalLM", "Mistral4Config",
    {**MLA_CONFIG, "intermediate_size": 18, "moe_intermediate_size": 5, "n_routed_experts": 6,
     "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "routed_scaling_factor": 1.3,
     "first_k_dense_replace": 0, "num_hidden_layers": 2, "rms_norm_eps": 1e-5, "rope_interleave": False,
     **rope(100.0, rope_type="yarn", mscale=1.0, mscale_all_dim=0.5, truncate=False, llama_4_scaling_beta=0.0,
            **DEEPSEEK_YARN)},
    yaml(f"""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 2
  pattern: "mla+moe"
  norm: {{type: rms, placement: pre, eps: 1.0e-5}}
  sublayers:
    mla:
      type: mla
      num_heads: 3
      q_rank: 7
      kv_rank: 10
      nope_head_dim: 6
      rope_head_dim: 8
      value_head_dim: 5
      latent_norm_eps: 1.0e-6
      mscale: 0.5
      rope:
        theta: 100
        pairing: half
        scaling:
          type: yarn
          factor: 8
          original_length: 40
          beta_fast: 1.5
          beta_slow: 0.3
          round_ramp: false
          attention_factor: {(0.1 * math.log(8) + 1) / (0.05 * math.log(8) + 1)!r}
    moe:
      type: moe
      num_experts: 6
      experts_per_token: 2
      expert_size: 5
      shared_size: 5
      router: {{score: softmax, normalize: true, scale: 1.3}}
"""),
    [layer(MLA, LOW_RANK_QUERIES, EXPERTS, shared("shared_experts"), pre_norms("mla", "moe"))] * 2, OUTSIDE,
    set_off="the growth of queries with the logarithm of the position, which Braid has no key for")

LATENT_FAMILIES["bailing_hybrid"] = Family(
    "BailingHybridForCausalLM", "BailingHybridConfig",
    {**MLA_CONFIG, "q_lora_rank": None, "intermediate_size": 18, "moe_intermediate_size": 4, "num_local_experts": 9,
     "num_experts_per_tok": 3, "n_shared_experts": 1, "n_group": 3, "topk_group": 2, "routed_scaling_factor": 1.7,
     "first_k_dense_replace": 1, "num_hidden_layers": 3, "layer_types": ["full_attention"] * 3, "num_mtp_layers": 0,
     "rms_norm_eps": 1e-5, **rope(100.0)},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 3
  pattern_head: "mla+mlp"
  pattern: "mla+moe"
  norm: {type: rms, placement: pre, eps: 1.0e-5}
  sublayers:
    mla:
      type: mla
      num_heads: 3
      kv_rank: 10
      nope_head_dim: 6
      rope_head_dim: 8
      value_head_dim: 5
      latent_norm_eps: 1.0e-6
      gate: head
      rope: {theta: 100}
    mlp: {type: mlp, size: 18, activation: swiglu}
    moe:
      type: moe
      num_experts: 9
      experts_per_token: 3
      expert_size: 4
      shared_size: 4
      router:
        score: sigmoid
        normalize: true
        scale: 1.7
        bias_update_rate: 1.0e-3
        num_groups: 3
        group_topk: 2
"""),
    [layer(MLA, FULL_QUERIES, HEAD_GATE, MLP, pre_norms("mla", "mlp"))]
    + [layer(MLA, FULL_QUERIES, HEAD_GATE, EXPERTS, shared("shared_experts"), pre_norms("mla", "moe"))] * 2, OUTSIDE,
    buffers=ROUTER_BIAS,
    set_off="layers of Kimi Delta Attention, whose decays come from a full projection, which Braid has no key for, and "
            "multi-token prediction")

LATENT_FAMILIES["glm4_moe_lite"] = Family(
    "Glm4MoeLiteForCausalLM", "Glm4MoeLiteConfig",
    {**MLA_CONFIG, "intermediate_size": 18, "moe_intermediate_size": 6, "n_routed_experts": 6,
     "num_experts_per_tok": 2, "n_shared_experts": 2, "routed_scaling_factor": 1.8, "num_hidden_layers": 3,
     "rms_norm_eps": 1e-5, "head_dim": 8, **rope(500.0, rope_type="linear", factor=3.0)},
    yaml("""
model:
  vocab_size: 32
  hidden_size: 12
  num_layers: 3
  pattern_head: "mla+mlp"
  pattern: "mla+moe"
  norm: {type: rms, placement: pre, eps: 1.0e-5}
  sublayers:
    mla:
      type: mla
      num_heads: 3
      q_rank: 7
      kv_rank: 10
      nope_head_dim: 6
      rope_head_dim: 8
      value_head_dim: 5
      latent_norm_eps: 1.0e-6
      rope: {theta: 500, scaling: {type: linear, factor: 3}}
    mlp: {type: mlp, size: 18, activation: swiglu}
    moe:
      type: moe
      num_experts: 6
      experts_per_token: 2
      expert_size: 6
      shared_size: 12
      router: {score: sigmoid, normalize: true, scale: 1.8, bias_update_rate: 1.0e-3}
"""),
    [layer(MLA, LOW_RANK_QUERIES, MLP, pre_norms("mla", "mlp"))]
    + [layer(MLA, LOW_RANK_QUERIES, EXPERTS, shared("shared_experts"), pre_norms("mla", "moe"))] * 2, OUTSIDE,
    buffers=ROUTER_BIAS)
