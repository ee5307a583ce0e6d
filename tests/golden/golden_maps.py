"""What families of models in golden data are made of: sublayers' parameters by their names in transformers, and which
of Braid's parameters each is.

The maps are written from the models' papers and from docs/mixers.md, not derived from Braid: they are a statement of
its own of what a name in Braid means.
"""

import dataclasses

VOCABULARY = 32


@dataclasses.dataclass(frozen=True)
class Sections:
    """Rows of one tensor that are several in Braid: `groups` times the same parts in a row, {name: rows in a group}."""

    groups: int
    parts: dict


@dataclasses.dataclass(frozen=True)
class Flat:
    """A tensor that is a vector in Braid."""

    name: str


@dataclasses.dataclass(frozen=True)
class Family:
    """A tiny model in both programs. layers: of each layer {name in transformers: its name, or its parts, in Braid}."""

    model_class: str
    config_class: str
    config: dict
    braid: str
    layers: list
    outside: dict  # what is in no layer
    zero_centered: bool = False  # norms are applied as 1 + w
    buffers: dict = dataclasses.field(default_factory=dict)  # of a layer
    set_off: str = ""  # what of the published models it leaves out, and why
    seed: int = 0  # of its random numbers


def layer(*parts):
    """One layer's map."""
    return {theirs: ours for part in parts for theirs, ours in part.items()}


def named(part, old, new):
    """The same map for a sublayer of another name."""
    return {theirs: ours.replace(old + ".", new + ".") for theirs, ours in part.items()}


def rope(theta, **more):
    """Rotary positions as transformers' configs have them."""
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **more}}


BASE = {"vocab_size": VOCABULARY, "hidden_size": 12, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "pad_token_id": None, "bos_token_id": None, "eos_token_id": None, "tie_word_embeddings": False}
OUTSIDE = {"model.embed_tokens.weight": "embedding.weight", "model.norm.weight": "final_norm.weight",
           "lm_head.weight": "head.weight"}

ATTENTION = {f"self_attn.{theirs}_proj.weight": f"attn.{ours}.weight"
             for theirs, ours in (("q", "q"), ("k", "k"), ("v", "v"), ("o", "out"))}
QKV_BIAS = {f"self_attn.{part}_proj.bias": f"attn.{part}.bias" for part in ("q", "k", "v")}
QK_NORM = {"self_attn.q_norm.weight": "attn.q_norm.weight", "self_attn.k_norm.weight": "attn.k_norm.weight"}
GATED_ATTENTION = {**ATTENTION, **QK_NORM,
                   "self_attn.q_proj.weight": Sections(4, {"attn.q.weight": 8, "attn.gate.weight": 8})}
# Multi-head latent attention of three heads; all sizes differ, so that no two can be taken for each other.
MLA_CONFIG = {**{key: value for key, value in BASE.items() if key != "head_dim"}, "num_attention_heads": 3,
              "num_key_value_heads": 3, "q_lora_rank": 7, "kv_lora_rank": 10, "qk_nope_head_dim": 6,
              "qk_rope_head_dim": 8, "v_head_dim": 5}
MLA = {f"self_attn.{theirs}.weight": f"mla.{ours}.weight"
       for theirs, ours in (("kv_a_proj_with_mqa", "kv_a"), ("kv_a_layernorm", "kv_norm"), ("kv_b_proj", "kv_b"),
                            ("o_proj", "out"))}
FULL_QUERIES = {"self_attn.q_proj.weight": "mla.q.weight"}
HEAD_GATE = {"self_attn.g_proj.weight": "mla.gate.weight"}
LOW_RANK_QUERIES = {f"self_attn.{theirs}.weight": f"mla.{ours}.weight"
                    for theirs, ours in (("q_a_proj", "q_a"), ("q_a_layernorm", "q_norm"), ("q_b_proj", "q_b"))}
MLP = {f"mlp.{part}_proj.weight": f"mlp.{part}.weight" for part in ("gate", "up", "down")}
EXPERTS = {"mlp.gate.weight": "moe.router.weight", "mlp.experts.gate_up_proj": "moe.experts.gate_up.weight",
           "mlp.experts.down_proj": "moe.experts.down.weight"}

ROUTER_BIAS = {"mlp.gate.e_score_correction_bias": "moe.router.bias"}


def shared(name):
    """The expert that every token goes to."""
    return {f"mlp.{name}.{part}_proj.weight": f"moe.shared.{part}.weight" for part in ("gate", "up", "down")}


SHARED_GATE = {"mlp.shared_expert_gate.weight": "moe.shared_gate.weight"}


def pre_norms(first, second):
    return {"input_layernorm.weight": f"{first}.pre_norm.weight",
            "post_attention_layernorm.weight": f"{second}.pre_norm.weight"}


def post_norms(first, second):
    return {"post_attention_layernorm.weight": f"{first}.post_norm.weight",
            "post_feedforward_layernorm.weight": f"{second}.post_norm.weight"}


# Gated DeltaNet with two key heads of 4 and four value heads of 5.
GDN_CONFIG = {"hidden_size": 10, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 4,
              "linear_value_head_dim": 5, "linear_conv_kernel_dim": 4}
GDN = {"linear_attn.dt_bias": "gdn.dt_bias", "linear_attn.A_log": "gdn.a_log",
       "linear_attn.norm.weight": "gdn.norm.weight", "linear_attn.out_proj.weight": "gdn.out.weight",
       "linear_attn.conv1d.weight": Sections(1, {"gdn.conv_q.weight": 8, "gdn.conv_k.weight": 8,
                                                 "gdn.conv_v.weight": 20})}
# Qwen3-Next keeps together what belongs to one key head.
GDN_BY_KEY_HEAD = {**GDN,
                   "linear_attn.in_proj_qkvz.weight": Sections(2, {"gdn.q.weight": 4, "gdn.k.weight": 4,
                                                                   "gdn.v.weight": 10, "gdn.z.weight": 10}),
                   "linear_attn.in_proj_ba.weight": Sections(2, {"gdn.b.weight": 2, "gdn.a.weight": 2})}
GDN_IN_ROWS = {**GDN,
               "linear_attn.in_proj_qkv.weight": Sections(1, {"gdn.q.weight": 8, "gdn.k.weight": 8,
                                                              "gdn.v.weight": 20}),
               "linear_attn.in_proj_z.weight": "gdn.z.weight", "linear_attn.in_proj_b.weight": "gdn.b.weight",
               "linear_attn.in_proj_a.weight": "gdn.a.weight"}
GDN_YAML = "{type: gated_delta_net, num_key_heads: 2, num_value_heads: 4, key_head_dim: 4, value_head_dim: 5}"

# One AdamW update. Braid does not decay norms, biases and the parameters of recurrences.
OPTIMIZER = {"lr": 0.02, "betas": [0.85, 0.97], "eps": 1.0e-5, "weight_decay": 0.3}
OPTIMIZER_YAML = """
optimizer: {type: adamw, lr: 0.02, betas: [0.85, 0.97], eps: 1.0e-5, weight_decay: 0.3, clip: 0}
"""
NO_DECAY = ("norm.weight", ".bias", ".a_log", ".dt_bias", ".d")


def yaml(text):
    return text.strip("\n") + OPTIMIZER_YAML
