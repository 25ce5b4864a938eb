# SPDX-License-Identifier: MIT
"""Checkpoints of random weights in the shapes of models that people have, for
the times and the memory in tests/gpu: neither depends on the values. They are
written in seconds, without PyTorch: one block of numbers over and over."""
import json
import pathlib
import random
import shutil
import struct

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TINY = ROOT / "datasets/tiny"
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
LONG = {"max_position_embeddings": 131072, "rope_scaling": LLAMA3}
# kind, hidden, intermediate, layers, heads, kv heads, head, vocabulary, tied,
# and what else its config.json says
SHAPES = {
    "llama-2-7b": ("llama", 4096, 11008, 32, 32, 32, 128, 32000, False,
                   {"bos_token_id": 1, "eos_token_id": 2,
                    "rope_theta": 10000.0}),
    "llama-8b": ("llama", 4096, 14336, 32, 32, 8, 128, 128256, False, LONG),
    "llama-8b-8": ("llama", 4096, 14336, 8, 32, 8, 128, 128256, False, {}),
    "llama-3b": ("llama", 3072, 8192, 28, 24, 8, 128, 128256, True, {}),
    "llama-1b": ("llama", 2048, 8192, 16, 32, 8, 64, 128256, True, {}),
    "qwen-0.6b": ("qwen3", 1024, 3072, 28, 16, 8, 128, 151936, True, {}),
    "smollm-135m": ("llama", 576, 1536, 30, 9, 3, 64, 49152, True, {}),
}


def tensors(kind, hidden, inner, layers, heads, kv, head, vocab, tied):
    out = {"model.embed_tokens.weight": [vocab, hidden],
           "model.norm.weight": [hidden]}
    if not tied:
        out["lm_head.weight"] = [vocab, hidden]
    for n in range(layers):
        p = f"model.layers.{n}."
        out.update({
            p + "input_layernorm.weight": [hidden],
            p + "post_attention_layernorm.weight": [hidden],
            p + "self_attn.q_proj.weight": [heads * head, hidden],
            p + "self_attn.k_proj.weight": [kv * head, hidden],
            p + "self_attn.v_proj.weight": [kv * head, hidden],
            p + "self_attn.o_proj.weight": [hidden, heads * head],
            p + "mlp.gate_proj.weight": [inner, hidden],
            p + "mlp.up_proj.weight": [inner, hidden],
            p + "mlp.down_proj.weight": [hidden, inner]})
        if kind == "qwen3":
            out[p + "self_attn.q_norm.weight"] = [head]
            out[p + "self_attn.k_norm.weight"] = [head]
    return out


def config(shape):
    kind, hidden, inner, layers, heads, kv, head, vocab, tied, more = shape
    arch = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}[kind]
    return dict(dict(
        architectures=[arch], model_type=kind, hidden_size=hidden,
        intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv, head_dim=head,
        vocab_size=vocab, tie_word_embeddings=tied, rms_norm_eps=1e-5,
        rope_theta=5e5, max_position_embeddings=16384, hidden_act="silu",
        torch_dtype="bfloat16", eos_token_id=0, bos_token_id=None), **more)


def write(folder, shape, tokenizer=TINY):
    """Norms of 1; bf16 numbers of either sign from 1/128 to 1/32."""
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(pathlib.Path(tokenizer) / name, folder)
    (folder / "config.json").write_text(json.dumps(config(shape)))
    draw = random.Random(0)
    block = b"".join(struct.pack("<H", draw.getrandbits(1) << 15 |
                                 0x3c00 + draw.getrandbits(8))
                     for _ in range(1 << 16)) * 64
    header, at, what = {"__metadata__": {"format": "pt"}}, 0, []
    for name, dims in tensors(*shape[:-1]).items():
        end = at + 2 * dims[0] * (dims[1] if len(dims) > 1 else 1)
        header[name] = dict(dtype="BF16", shape=dims, data_offsets=[at, end])
        what.append((end - at, len(dims) > 1))
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for size, drawn in what:
            if not drawn:
                file.write(b"\x80\x3f" * (size // 2))
            else:
                for left in range(size, 0, -len(block)):
                    file.write(block[:left])
