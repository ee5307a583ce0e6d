"""Parameters of published models, counted from the numbers of their config.json alone.

Each function takes such numbers under the names that the release gives them and adds up the tensors of the released
checkpoint: nothing here knows how Braid names, groups or counts them. A selection bias of a router is left out, as is
whatever belongs to heads that predict further tokens or to other modalities."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Count:
    """Parameters in all, those that a token uses, and the share of both that the embedding and the head have."""
    total: int
    active: int
    embedding: int
    head: int   # 0 where the head is the embedding


def model(config, layers):
    """A stack of layers, each (total, active), between an embedding and a final norm with a head."""
    embedding = config["vocab_size"] * config["hidden_size"]
    head = 0 if config.get("tie_word_embeddings") else embedding
    rest = embedding + config["hidden_size"] + head
    return Count(sum(layer[0] for layer in layers) + rest, sum(layer[1] for layer in layers) + rest, embedding, head)


def dense(parameters):
    return parameters, parameters


def joined(*parts):
    """The parts of one layer, each (total, active) or a number that every token uses."""
    pairs = [part if isinstance(part, tuple) else dense(part) for part in parts]
    return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)


def swiglu(hidden, size):
    return 3 * hidden * size


def experts(hidden, number, per_token, expert):
    """The router, a row for each expert, and the experts, of which a token uses some."""
    router = hidden * number
    return router + number * expert, router + per_token * expert


def grouped_query(config, query_norm="none", gate=False):
    """Queries, keys, values, with biases or not, and output; norms of queries and keys, of a head or of all at once."""
    hidden, heads, kv_heads = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    head = config.get("head_dim") or hidden // heads
    norms = {"none": 0, "head": 2 * head, "full": (heads + kv_heads) * head}[query_norm]
    biases = (heads + 2 * kv_heads) * head if config.get("attention_bias") else 0
    return hidden * head * ((3 if gate else 2) * heads + 2 * kv_heads) + biases + norms


def llama(config, query_norm="none"):
    """Llama 3, Mistral, Phi-4, SmolLM3, Nanbeige; two norms a layer. Norms after a sublayer have the same weights."""
    hidden = config["hidden_size"]
    layer = joined(grouped_query(config, query_norm), swiglu(hidden, config["intermediate_size"]), 2 * hidden)
    return model(config, [layer] * config["num_hidden_layers"])


def qwen3(config):
    return llama(config, "head")


def olmo2(config):
    """OLMo 2 and OLMo 3: the norms of queries and keys are as wide as the projections."""
    return llama(config, "full")


def mixtral(config, query_norm="none", width="intermediate_size"):
    """A mixture in every layer, without a shared expert."""
    hidden = config["hidden_size"]
    number = config.get("num_local_experts") or config["num_experts"]
    mixture = experts(hidden, number, config["num_experts_per_tok"], swiglu(hidden, config[width]))
    layer = joined(grouped_query(config, query_norm), mixture, 2 * hidden)
    return model(config, [layer] * config["num_hidden_layers"])


def qwen3_moe(config):
    """Qwen3 and Mellum 2 with mixtures."""
    return mixtral(config, "head", "moe_intermediate_size")


def olmoe(config):
    return mixtral(config, "full")


def minimax_m2(config):
    return mixtral(config, "full")


def one_dense_layer(config, attention=None, number=None, number_shared=None):
    """Hy3 and Sarvam 30B, with attention of its own DeepSeek's kind: the first layers are dense, the others have a
    mixture with shared experts of the routed size."""
    hidden, width = config["hidden_size"], config["moe_intermediate_size"]
    attention = attention or grouped_query(config, "head")
    number = number or config["num_experts"]
    mixture = joined(experts(hidden, number, config["num_experts_per_tok"], swiglu(hidden, width)),
                     swiglu(hidden, (number_shared or config["num_shared_experts"]) * width))
    first_layers = config["first_k_dense_replace"]
    other = joined(attention, mixture, 2 * hidden)
    first = joined(attention, swiglu(hidden, config["intermediate_size"]), 2 * hidden) if first_layers else None
    return model(config, [first] * first_layers + [other] * (config["num_hidden_layers"] - first_layers))


def glm4_moe(config):
    """GLM-4.5 and Air."""
    attention = grouped_query(config, "head" if config["use_qk_norm"] else "none")
    return one_dense_layer(config, attention, config["n_routed_experts"], config["n_shared_experts"])


def gated_delta_net(config):
    """q, k, v, z; b and a, a row for each value head; a convolution over q, k and v; A_log and dt_bias; one norm."""
    hidden = config["hidden_size"]
    keys = config["linear_num_key_heads"] * config["linear_key_head_dim"]
    heads = config["linear_num_value_heads"]
    values = heads * config["linear_value_head_dim"]
    projections = hidden * (2 * keys + 2 * values) + 2 * hidden * heads
    convolution = (2 * keys + values) * config["linear_conv_kernel_dim"]
    return projections + convolution + 2 * heads + config["linear_value_head_dim"] + values * hidden


def qwen3_next(config):
    """Qwen3-Next and Qwen3.5: each fourth layer is gated attention; a mixture with a gated shared expert, or an MLP."""
    hidden = config["hidden_size"]
    if "num_experts" in config:
        expert = swiglu(hidden, config["moe_intermediate_size"])
        channel = joined(experts(hidden, config["num_experts"], config["num_experts_per_tok"], expert),
                         swiglu(hidden, config["shared_expert_intermediate_size"]), hidden)
    else:
        channel = dense(swiglu(hidden, config["intermediate_size"]))
    linear = joined(gated_delta_net(config), channel, 2 * hidden)
    full = joined(grouped_query(config, "head", gate=True), channel, 2 * hidden)
    interval = config["full_attention_interval"]
    return model(config, [full if (layer + 1) % interval == 0 else linear
                          for layer in range(config["num_hidden_layers"])])


def olmo_hybrid(config):
    """Gated DeltaNet in place of the attention with a window of OLMo 3; two norms a layer of either kind."""
    hidden = config["hidden_size"]
    mixers = {"linear_attention": gated_delta_net(config), "full_attention": grouped_query(config, "full")}
    return model(config, [joined(mixers[kind], swiglu(hidden, config["intermediate_size"]), 2 * hidden)
                          for kind in config["layer_types"]])


def mamba2(config):
    """in_proj to z, x, B, C and dt; a convolution with bias over x, B and C; A_log, D, dt_bias; a norm; out_proj."""
    hidden, heads = config["hidden_size"], config["mamba_num_heads"]
    inner = heads * config["mamba_head_dim"]
    convolved = inner + 2 * config["n_groups"] * config["ssm_state_size"]
    taps = config["conv_kernel"] + (1 if config["use_conv_bias"] else 0)
    return hidden * (inner + convolved + heads) + convolved * taps + 3 * heads + inner + inner * hidden


def nemotron_h(config):
    """One sublayer a layer with one norm: M Mamba-2, * attention, E mixture, - MLP; MLPs and experts have no gate."""
    hidden = config["hidden_size"]
    layers = {"M": dense(mamba2(config)), "*": dense(grouped_query(config))}
    if "n_routed_experts" in config:
        routed = experts(hidden, config["n_routed_experts"], config["num_experts_per_tok"],
                         2 * hidden * config["moe_intermediate_size"])
        layers["E"] = joined(routed, 2 * hidden * config["moe_shared_expert_intermediate_size"])
    else:
        layers["-"] = dense(2 * hidden * config["intermediate_size"])
    return model(config, [joined(layers[letter], hidden) for letter in config["hybrid_override_pattern"]])


def lfm2_width(config):
    """The MLP of the dense models: two thirds of what the file says, rounded up."""
    if not config["block_auto_adjust_ff_dim"]:
        return config["intermediate_size"]
    size = int(config["block_ffn_dim_multiplier"] * int(2 * config["intermediate_size"] / 3))
    multiple = config["block_multiple_of"]
    return -(-size // multiple) * multiple


def lfm2(config):
    """LFM2 and LFM2.5: in_proj to b, c and x, a convolution over each channel, out_proj; or attention."""
    hidden = config["hidden_size"]
    mixers = {"conv": 3 * hidden * hidden + hidden * config["conv_L_cache"] + hidden * hidden,
              "full_attention": grouped_query(config, "head")}
    if "num_experts" in config:
        routed = experts(hidden, config["num_experts"], config["num_experts_per_tok"],
                         swiglu(hidden, config["moe_intermediate_size"]))
        first_layers, first = config["num_dense_layers"], dense(swiglu(hidden, config["intermediate_size"]))
    else:
        routed, first_layers, first = dense(swiglu(hidden, lfm2_width(config))), 0, None
    return model(config, [joined(mixers[kind], first if layer < first_layers else routed, 2 * hidden)
                          for layer, kind in enumerate(config["layer_types"])])


def kimi_delta(config):
    """q, k, v with a convolution each; f and g of low rank; b; A_log of a head, dt_bias of a channel; a norm; o."""
    hidden, heads = config["hidden_size"], config["linear_attn_config"]["num_heads"]
    head = config["linear_attn_config"]["head_dim"]
    width = heads * head
    low_rank = hidden * head + head * width
    taps = config["linear_attn_config"]["short_conv_kernel_size"]
    return 3 * (hidden * width + width * taps) + 2 * low_rank + hidden * heads + heads + width + head + width * hidden


def latent_attention(config):
    """Queries through a latent or not, keys and values through one, with a norm each; one rotated key for all heads."""
    hidden, heads, rank = config["hidden_size"], config["num_attention_heads"], config["kv_lora_rank"]
    query = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
    if config.get("q_lora_rank"):
        queries = config["q_lora_rank"] * (hidden + 1 + heads * query)
    else:
        queries = hidden * heads * query
    values = heads * config["v_head_dim"]
    down = hidden * (rank + config["qk_rope_head_dim"]) + rank
    return queries + down + rank * (heads * config["qk_nope_head_dim"] + values) + values * hidden


def deepseek(config):
    """DeepSeek V2 and V3, Kimi K2, Mistral Large 3 and Small 4, Sarvam 105B, GLM-4.7-Flash."""
    return one_dense_layer(config, latent_attention(config), config["n_routed_experts"], config["n_shared_experts"])


def kimi_linear(config):
    """Kimi Delta Attention, or latent attention in the layers that the release counts from 1."""
    hidden, width = config["hidden_size"], config["moe_intermediate_size"]
    full = config["linear_attn_config"]["full_attn_layers"]
    mixture = joined(experts(hidden, config["num_experts"], config["num_experts_per_token"], swiglu(hidden, width)),
                     swiglu(hidden, config["num_shared_experts"] * width))
    dense_mlp = dense(swiglu(hidden, config["intermediate_size"]))
    return model(config, [joined(latent_attention(config) if layer in full else kimi_delta(config),
                                 dense_mlp if layer <= config["first_k_dense_replace"] else mixture, 2 * hidden)
                          for layer in range(1, config["num_hidden_layers"] + 1)])


def solar_open2(config):
    """Gated attention at the head of each group of Kimi Delta Attention; a mixture with shared experts everywhere."""
    hidden, width = config["hidden_size"], config["moe_intermediate_size"]
    mixture = joined(experts(hidden, config["n_routed_experts"], config["num_experts_per_tok"], swiglu(hidden, width)),
                     swiglu(hidden, config["n_shared_experts"] * width))
    full = joined(grouped_query(config, gate=True), mixture, 2 * hidden)
    linear = joined(kimi_delta(config), mixture, 2 * hidden)
    return model(config, [linear if layer % (config["gqa_interval"] + 1) else full
                          for layer in range(config["num_hidden_layers"])])
