# SPDX-License-Identifier: MIT
"""Small configs of every family, in the keys of their config.json, over those
of tiny_run.py: what test_families.py trains and parity/families.py holds
against Transformers."""
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "factor": 4.0,
        "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "factor": 8.0}
PHI3 = {"pad_token_id": 0}
LONGROPE = {"rope_type": "longrope",
            "short_factor": [1.0, 1.1, 1.3, 1.7],
            "long_factor": [1.0, 2.0, 4.5, 8.0]}
UPPER = {"use_sliding_window": True, "sliding_window": 4,
         "max_window_layers": 1}
GEMMA = {"head_dim": 16, "hidden_activation": "gelu_pytorch_tanh",
         "hidden_act": "gelu_pytorch_tanh"}
GEMMA2 = {**GEMMA, "sliding_window": 4, "query_pre_attn_scalar": 24,
          "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
GEMMA3 = {**GEMMA, "sliding_window": 4, "query_pre_attn_scalar": 24,
          "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0}
SLIDES = ["full_attention"] + 2 * ["sliding_attention"]

CASES = {
    "llama": ("llama", {}),
    "llama_bias": ("llama", {"attention_bias": True, "mlp_bias": True,
                             "tie_word_embeddings": False}),
    "llama_scaled": ("llama", {"head_dim": 16, "rope_scaling": LLAMA3}),
    "llama_linear": ("llama", {"rope_scaling": LINEAR,
                               "tie_word_embeddings": False}),
    "mistral": ("mistral", {"sliding_window": 4}),
    "mistral_whole": ("mistral", {"sliding_window": None, "head_dim": 16,
                                  "tie_word_embeddings": False}),
    "mistral_scaled": ("mistral", {"sliding_window": 30,
                                   "rope_scaling": YARN}),
    "qwen2": ("qwen2", {**UPPER, "tie_word_embeddings": False}),
    "qwen2_yarn": ("qwen2", {"rope_scaling": YARN}),
    "qwen3": ("qwen3", {**UPPER, "head_dim": 16, "attention_bias": False}),
    "qwen3_bias": ("qwen3", {"head_dim": 12, "attention_bias": True,
                             "use_sliding_window": True, "sliding_window": 3,
                             "layer_types": SLIDES,
                             "tie_word_embeddings": False}),
    "qwen3_scaled": ("qwen3", {"rope_scaling": YARN, "attention_bias": False,
                               "tie_word_embeddings": False}),
    "gemma": ("gemma", GEMMA),
    "gemma_bias": ("gemma", {**GEMMA, "attention_bias": True, "head_dim": 12,
                             "rope_scaling": LINEAR,
                             "tie_word_embeddings": False}),
    "gemma2": ("gemma2", GEMMA2),
    "gemma2_bias": ("gemma2", {**GEMMA2, "attention_bias": True,
                               "final_logit_softcapping": None,
                               "layer_types": SLIDES,
                               "tie_word_embeddings": False}),
    "gemma2_scaled": ("gemma2", {**GEMMA2, "head_dim": 12, "sliding_window": 7,
                                 "rope_scaling": LLAMA3}),
    "gemma3": ("gemma3_text", {**GEMMA3, "rope_scaling": LINEAR,
                               "layer_types": SLIDES}),
    "gemma3_capped": ("gemma3_text", {**GEMMA3, "sliding_window_pattern": 2,
                                      "final_logit_softcapping": 5.0}),
    "gemma3_bias": ("gemma3_text", {**GEMMA3, "attention_bias": True,
                                    "head_dim": 12, "sliding_window": 9,
                                    "tie_word_embeddings": False}),
    "phi3": ("phi3", {**PHI3, "sliding_window": 5,
                      "tie_word_embeddings": False}),
    "phi3_partial": ("phi3", {**PHI3, "partial_rotary_factor": 0.5,
                              "sliding_window": None}),
    "phi3_short": ("phi3", {**PHI3, "rope_scaling": LONGROPE,
                            "max_position_embeddings": 4096,
                            "original_max_position_embeddings": 2048}),
    "phi3_long": ("phi3", {**PHI3, "rope_scaling": LONGROPE,
                           "max_position_embeddings": 4096,
                           "original_max_position_embeddings": 8}),
}
