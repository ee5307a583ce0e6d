"""What releases say of models in configs/published: the numbers of their config.json, and the sizes that they print."""

import dataclasses
from decimal import Decimal

import count_parameters as count


@dataclasses.dataclass(frozen=True)
class Printed:
    """A size such as "30.5B", and which parameters it is a size of. With a reason, the count rounds to another."""
    size: str
    step: str = "1"         # of the last digit printed, in units of it: "10" of 230B
    of: str = "all"         # all | without embedding | without embedding and head
    reason: str = ""

    def of_count(self, count_of_all, counted):
        without = {"all": 0, "without embedding": counted.embedding,
                   "without embedding and head": counted.embedding + counted.head}[self.of]
        return count_of_all - without

    def rounds_to_it(self, parameters):
        number, unit = Decimal(self.size[:-1]), {"M": 10 ** 6, "B": 10 ** 9, "T": 10 ** 12}[self.size[-1]]
        digit = Decimal(self.step) * Decimal(1).scaleb(number.as_tuple().exponent)
        return (Decimal(parameters) / unit / digit).quantize(Decimal(1)) * digit == number


@dataclasses.dataclass(frozen=True)
class Published:
    function: object
    config: dict
    total: Printed
    active: Printed = None   # None of dense models

    def count(self):
        return self.function(self.config)


def qwen3(hidden, layers, heads, width, tied=False):
    return {"vocab_size": 151936, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": width, "tie_word_embeddings": tied}


def qwen3_5(hidden, layers, heads, value_heads, **numbers):
    return {"vocab_size": 248320, "hidden_size": hidden, "num_hidden_layers": layers, "full_attention_interval": 4,
            "num_attention_heads": heads[0], "num_key_value_heads": heads[1], "head_dim": 256,
            "linear_num_key_heads": 16, "linear_num_value_heads": value_heads, "linear_key_head_dim": 128,
            "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, **numbers}


def dense(vocabulary, hidden, layers, heads, width, **numbers):
    return {"vocab_size": vocabulary, "hidden_size": hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads[0], "num_key_value_heads": heads[1], "intermediate_size": width, **numbers}


def latent(vocabulary, hidden, layers, heads, ranks, head_dims, dense_layers, experts, **numbers):
    """ranks of queries and of keys and values; head_dims without position, with one, of values; experts: routed, for a
    token, shared, their size."""
    return {"vocab_size": vocabulary, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "q_lora_rank": ranks[0], "kv_lora_rank": ranks[1], "qk_nope_head_dim": head_dims[0],
            "qk_rope_head_dim": head_dims[1], "v_head_dim": head_dims[2], "first_k_dense_replace": dense_layers,
            "n_routed_experts": experts[0], "num_experts_per_tok": experts[1], "n_shared_experts": experts[2],
            "moe_intermediate_size": experts[3], **numbers}


def glm4_moe(hidden, layers, width, dense_layers, routed, expert_width, query_norm):
    return {"vocab_size": 151552, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": 96,
            "num_key_value_heads": 8, "head_dim": 128, "attention_bias": True, "use_qk_norm": query_norm,
            "intermediate_size": width, "first_k_dense_replace": dense_layers, "n_routed_experts": routed,
            "num_experts_per_tok": 8, "n_shared_experts": 1, "moe_intermediate_size": expert_width}


SHORT_LAYERS = ["conv", "conv", "full_attention"] * 3 + ["conv", "full_attention"] * 3 + ["conv"]
LONG_LAYERS = ["conv", "conv", "full_attention"] + ["conv", "conv", "conv", "full_attention"] * 4
LONG_LAYERS += ["conv", "conv", "full_attention", "conv", "conv"]
BARE = "without embedding and head"

MODELS = {
    "deepseek-v2": Published(
        count.deepseek, latent(102400, 5120, 60, 128, (1536, 512), (128, 64, 128), 1, (160, 6, 2, 1536),
                               intermediate_size=12288), Printed("236B"), Printed("21B")),
    "deepseek-v2-lite": Published(
        count.deepseek, latent(102400, 2048, 27, 16, (None, 512), (128, 64, 128), 1, (64, 6, 2, 1408),
                               intermediate_size=10944),
        Printed("15.7B"), Printed("2.4B", of="without embedding", reason="cut from 2.45B")),
    "deepseek-v3": Published(
        count.deepseek, latent(129280, 7168, 61, 128, (1536, 512), (128, 64, 128), 3, (256, 8, 1, 2048),
                               intermediate_size=18432), Printed("671B"), Printed("37B", of="without embedding")),
    "glm-4.5-355b-a32b": Published(
        count.glm4_moe, glm4_moe(5120, 92, 12288, 3, 160, 1536, True),
        Printed("355B", of=BARE, reason="reached with the layer that predicts a further token, 3.99B"),
        Printed("32B", of=BARE)),
    "glm-4.5-air-106b-a12b": Published(
        count.glm4_moe, glm4_moe(4096, 46, 10944, 1, 128, 1408, False),
        Printed("106B", of=BARE), Printed("12B", of=BARE)),
    "glm-4.7-flash": Published(
        count.deepseek, latent(154880, 2048, 47, 20, (768, 512), (192, 64, 256), 1, (64, 4, 1, 1536),
                               intermediate_size=10240), Printed("30B"), Printed("3B", of=BARE)),
    "hy3-preview-295b-a21b": Published(
        count.one_dense_layer, {"vocab_size": 120832, "hidden_size": 4096, "num_hidden_layers": 80,
                                "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
                                "intermediate_size": 13312, "first_k_dense_replace": 1, "num_experts": 192,
                                "num_experts_per_tok": 8, "num_shared_experts": 1, "moe_intermediate_size": 1536},
        Printed("295B"), Printed("21B")),
    "kimi-k2": Published(
        count.deepseek, latent(163840, 7168, 61, 64, (1536, 512), (128, 64, 128), 1, (384, 8, 1, 2048),
                               intermediate_size=18432), Printed("1T"), Printed("32B", of="without embedding")),
    "kimi-linear-48b-a3b": Published(
        count.kimi_linear, {"vocab_size": 163840, "hidden_size": 2304, "num_hidden_layers": 27,
                            "num_attention_heads": 32, "q_lora_rank": None, "kv_lora_rank": 512,
                            "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
                            "linear_attn_config": {"num_heads": 32, "head_dim": 128, "short_conv_kernel_size": 4,
                                                   "full_attn_layers": [4, 8, 12, 16, 20, 24, 27]},
                            "intermediate_size": 9216, "first_k_dense_replace": 1, "num_experts": 256,
                            "num_experts_per_token": 8, "num_shared_experts": 1, "moe_intermediate_size": 1024},
        Printed("48B", reason="the name"), Printed("3B")),
    "lfm2.5-1.2b": Published(
        count.lfm2, {"vocab_size": 65536, "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 8,
                     "intermediate_size": 12288, "block_auto_adjust_ff_dim": True, "block_ffn_dim_multiplier": 1.0,
                     "block_multiple_of": 256, "conv_L_cache": 3, "layer_types": SHORT_LAYERS,
                     "tie_word_embeddings": True}, Printed("1.17B")),
    "lfm2.5-350m": Published(
        count.lfm2, {"vocab_size": 65536, "hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 8,
                     "intermediate_size": 6656, "block_auto_adjust_ff_dim": True, "block_ffn_dim_multiplier": 1.0,
                     "block_multiple_of": 256, "conv_L_cache": 3, "layer_types": SHORT_LAYERS,
                     "tie_word_embeddings": True}, Printed("350M", step="10")),
    "lfm2.5-8b-a1b": Published(
        count.lfm2, {"vocab_size": 128000, "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 8,
                     "intermediate_size": 7168, "num_dense_layers": 2, "num_experts": 32, "num_experts_per_tok": 4,
                     "moe_intermediate_size": 1792, "conv_L_cache": 3, "layer_types": LONG_LAYERS,
                     "tie_word_embeddings": True},
        Printed("8.3B", reason="that of LFM2-8B-A1B, whose vocabulary of 65536 makes 8.34B and 1.56B"),
        Printed("1.5B", reason="that of LFM2-8B-A1B, cut from 1.56B")),
    "llama-3-8b": Published(count.llama, dense(128256, 4096, 32, (32, 8), 14336), Printed("8.03B")),
    "llama-3.1-405b": Published(count.llama, dense(128256, 16384, 126, (128, 8), 53248),
                                Printed("405B", reason="cut from 405.9B")),
    "llama-3.1-70b": Published(count.llama, dense(128256, 8192, 80, (64, 8), 28672),
                               Printed("70B", reason="cut from 70.6B")),
    "llama-3.1-8b": Published(count.llama, dense(128256, 4096, 32, (32, 8), 14336), Printed("8B")),
    "llama-3.2-1b": Published(count.llama, dense(128256, 2048, 16, (32, 8), 8192, tie_word_embeddings=True),
                              Printed("1.23B", reason="cut from 1.236B")),
    "llama-3.2-3b": Published(count.llama, dense(128256, 3072, 28, (24, 8), 8192, tie_word_embeddings=True),
                              Printed("3.21B")),
    "mellum2-12b-a2.5b": Published(
        count.qwen3_moe, {"vocab_size": 98304, "hidden_size": 2304, "num_hidden_layers": 28, "num_attention_heads": 32,
                          "num_key_value_heads": 4, "head_dim": 128, "num_experts": 64, "num_experts_per_tok": 8,
                          "moe_intermediate_size": 896},
        Printed("12B"), Printed("2.5B", reason="reached with the layer that predicts a further token, 0.08B")),
    "minimax-m2": Published(
        count.minimax_m2, {"vocab_size": 200064, "hidden_size": 3072, "num_hidden_layers": 62,
                           "num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128,
                           "num_local_experts": 256, "num_experts_per_tok": 8, "intermediate_size": 1536},
        Printed("230B", step="10"), Printed("10B", of=BARE)),
    "mistral-large-3": Published(
        count.deepseek, latent(131072, 7168, 61, 128, (1536, 512), (128, 64, 128), 3, (128, 4, 1, 4096),
                               intermediate_size=16384), Printed("673B"), Printed("39B", of="without embedding")),
    "mistral-small-3.1-24b": Published(count.llama, dense(131072, 5120, 40, (32, 8), 32768, head_dim=128),
                                       Printed("24B")),
    "mistral-small-4-119b": Published(
        count.deepseek, latent(131072, 4096, 36, 32, (1024, 256), (64, 64, 128), 0, (128, 4, 1, 2048)),
        Printed("119B"), Printed("6B", of="without embedding")),
    "mixtral-8x22b": Published(
        count.mixtral, {**dense(32000, 6144, 56, (48, 8), 16384), "num_local_experts": 8, "num_experts_per_tok": 2},
        Printed("141B"), Printed("39B")),
    "mixtral-8x7b": Published(
        count.mixtral, {**dense(32000, 4096, 32, (32, 8), 14336), "num_local_experts": 8, "num_experts_per_tok": 2},
        Printed("46.7B"), Printed("12.9B")),
    "nanbeige-4.1-3b": Published(count.llama, dense(166144, 2560, 32, (20, 4), 10496, head_dim=128),
                                 Printed("3B", of=BARE)),
    "nemotron-3-nano-30b-a3b": Published(
        count.nemotron_h, {"vocab_size": 131072, "hidden_size": 2688, "num_attention_heads": 32,
                           "num_key_value_heads": 2, "head_dim": 128, "mamba_num_heads": 64, "mamba_head_dim": 64,
                           "ssm_state_size": 128, "n_groups": 8, "conv_kernel": 4, "use_conv_bias": True,
                           "n_routed_experts": 128, "num_experts_per_tok": 6, "moe_intermediate_size": 1856,
                           "moe_shared_expert_intermediate_size": 3712,
                           "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"},
        Printed("31.6B"), Printed("3.2B", of="without embedding")),
    "nemotron-3-nano-4b": Published(
        count.nemotron_h, {"vocab_size": 131072, "hidden_size": 3136, "num_attention_heads": 40,
                           "num_key_value_heads": 8, "head_dim": 128, "mamba_num_heads": 96, "mamba_head_dim": 80,
                           "ssm_state_size": 128, "n_groups": 8, "conv_kernel": 4, "use_conv_bias": True,
                           "intermediate_size": 12544,
                           "hybrid_override_pattern": "M-M-M-MM-M-M*-M-M*-M-M-M*-M-M-MM*-MMM-M-M-"},
        Printed("3.97B")),
    "nemotron-h-56b": Published(
        count.nemotron_h, {"vocab_size": 131072, "hidden_size": 8192, "num_attention_heads": 64,
                           "num_key_value_heads": 8, "head_dim": 128, "mamba_num_heads": 256, "mamba_head_dim": 64,
                           "ssm_state_size": 256, "n_groups": 8, "conv_kernel": 4, "use_conv_bias": True,
                           "intermediate_size": 32768,
                           "hybrid_override_pattern": "M-M-M-M*" + "-M-M-M-M-M*" * 9 + "-M-M-M-M-M-"},
        Printed("56B")),
    "olmo-2-13b": Published(count.olmo2, dense(100352, 5120, 40, (40, 40), 13824),
                            Printed("13B", reason="cut from 13.7B")),
    "olmo-2-1b": Published(count.olmo2, dense(100352, 2048, 16, (16, 16), 8192), Printed("1B")),
    "olmo-2-32b": Published(count.olmo2, dense(100352, 5120, 64, (40, 8), 27648), Printed("32B")),
    "olmo-2-7b": Published(count.olmo2, dense(100352, 4096, 32, (32, 32), 11008), Printed("7B")),
    "olmo-3-32b": Published(count.olmo2, dense(100278, 5120, 64, (40, 8), 27648), Printed("32B")),
    "olmo-3-7b": Published(count.olmo2, dense(100278, 4096, 32, (32, 32), 11008), Printed("7B")),
    "olmo-hybrid-7b": Published(
        count.olmo_hybrid, {**dense(100352, 3840, 32, (30, 30), 11008),
                            "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 8,
                            "linear_num_key_heads": 30, "linear_num_value_heads": 30, "linear_key_head_dim": 96,
                            "linear_value_head_dim": 192, "linear_conv_kernel_dim": 4}, Printed("7B")),
    "olmoe-1b-7b": Published(
        count.olmoe, {**dense(50304, 2048, 16, (16, 16), 1024), "num_experts": 64, "num_experts_per_tok": 8},
        Printed("6.9B"), Printed("1.3B")),
    "phi-4": Published(count.llama, dense(100352, 5120, 40, (40, 10), 17920),
                       Printed("14B", reason="cut from 14.7B")),
    "qwen3-0.6b": Published(count.qwen3, qwen3(1024, 28, 16, 3072, True), Printed("0.6B")),
    "qwen3-1.7b": Published(count.qwen3, qwen3(2048, 28, 16, 6144, True), Printed("1.7B")),
    "qwen3-14b": Published(count.qwen3, qwen3(5120, 40, 40, 17408), Printed("14.8B")),
    "qwen3-235b-a22b": Published(
        count.qwen3_moe, {"vocab_size": 151936, "hidden_size": 4096, "num_hidden_layers": 94,
                          "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128,
                          "num_experts_per_tok": 8, "moe_intermediate_size": 1536}, Printed("235B"), Printed("22B")),
    "qwen3-30b-a3b": Published(
        count.qwen3_moe, {"vocab_size": 151936, "hidden_size": 2048, "num_hidden_layers": 48,
                          "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128,
                          "num_experts_per_tok": 8, "moe_intermediate_size": 768},
        Printed("30.5B"), Printed("3.3B", reason="cut from 3.35B")),
    "qwen3-32b": Published(count.qwen3, qwen3(5120, 64, 64, 25600), Printed("32.8B")),
    "qwen3-4b": Published(count.qwen3, qwen3(2560, 36, 32, 9728, True), Printed("4.0B")),
    "qwen3-8b": Published(count.qwen3, qwen3(4096, 36, 32, 12288), Printed("8.2B")),
    "qwen3-coder-480b-a35b": Published(
        count.qwen3_moe, {"vocab_size": 151936, "hidden_size": 6144, "num_hidden_layers": 62,
                          "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128, "num_experts": 160,
                          "num_experts_per_tok": 8, "moe_intermediate_size": 2560}, Printed("480B"), Printed("35B")),
    "qwen3-next-80b-a3b": Published(
        count.qwen3_next, {"vocab_size": 151936, "hidden_size": 2048, "num_hidden_layers": 48,
                           "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256,
                           "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
                           "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "full_attention_interval": 4,
                           "num_experts": 512, "num_experts_per_tok": 10, "moe_intermediate_size": 512,
                           "shared_expert_intermediate_size": 512}, Printed("80B"), Printed("3B", of=BARE)),
    "qwen3.5-0.8b": Published(
        count.qwen3_next, qwen3_5(1024, 24, (8, 2), 16, intermediate_size=3584, tie_word_embeddings=True),
        Printed("0.8B")),
    "qwen3.5-122b-a10b": Published(
        count.qwen3_next, qwen3_5(3072, 48, (32, 2), 64, num_experts=256, num_experts_per_tok=8,
                                  moe_intermediate_size=1024, shared_expert_intermediate_size=1024),
        Printed("122B"), Printed("10B")),
    "qwen3.5-27b": Published(count.qwen3_next, qwen3_5(5120, 64, (24, 4), 48, intermediate_size=17408),
                             Printed("27B")),
    "qwen3.5-35b-a3b": Published(
        count.qwen3_next, qwen3_5(2048, 40, (16, 2), 32, num_experts=256, num_experts_per_tok=8,
                                  moe_intermediate_size=512, shared_expert_intermediate_size=512),
        Printed("35B"), Printed("3B")),
    "qwen3.5-397b-a17b": Published(
        count.qwen3_next, qwen3_5(4096, 60, (32, 2), 64, num_experts=512, num_experts_per_tok=10,
                                  moe_intermediate_size=1024, shared_expert_intermediate_size=1024),
        Printed("397B", reason="counts the vision tower, 0.45B"), Printed("17B")),
    "qwen3.5-4b": Published(
        count.qwen3_next, qwen3_5(2560, 32, (16, 4), 32, intermediate_size=9216, tie_word_embeddings=True),
        Printed("4B")),
    "qwen3.5-9b": Published(count.qwen3_next, qwen3_5(4096, 32, (16, 4), 32, intermediate_size=12288), Printed("9B")),
    "sarvam-105b": Published(
        count.deepseek, latent(262144, 4096, 32, 64, (None, 512), (128, 64, 128), 1, (128, 8, 1, 2048),
                               intermediate_size=16384),
        Printed("105B", reason="the name; 106B on its page"), Printed("10.3B", of=BARE)),
    "sarvam-30b": Published(
        count.one_dense_layer, {"vocab_size": 262144, "hidden_size": 4096, "num_hidden_layers": 19,
                                "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 64,
                                "intermediate_size": 8192, "first_k_dense_replace": 1, "num_experts": 128,
                                "num_experts_per_tok": 6, "num_shared_experts": 1, "moe_intermediate_size": 1024},
        Printed("30B", reason="the name; 32B on its card"), Printed("2.4B", of=BARE)),
    "smollm3-3b": Published(count.llama, dense(128256, 2048, 36, (16, 4), 11008, tie_word_embeddings=True),
                            Printed("3B")),
    "solar-open-2-250b-a15b": Published(
        count.solar_open2, {"vocab_size": 196608, "hidden_size": 4096, "num_hidden_layers": 48,
                            "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128, "gqa_interval": 3,
                            "linear_attn_config": {"num_heads": 64, "head_dim": 128, "short_conv_kernel_size": 4},
                            "n_routed_experts": 320, "num_experts_per_tok": 8, "n_shared_experts": 1,
                            "moe_intermediate_size": 1280}, Printed("250B"), Printed("15B")),
}
