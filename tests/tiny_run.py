#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tiny_run.py FOLDER: what a run of a second needs, for tests that are
scripts: a llama of three layers (its weights are random: no file), rows of
instructions, and two recipes, full.lua and lora.lua (with dropout)."""
import json
import pathlib
import sys

CASES = pathlib.Path(__file__).with_name("tokenizer") / "cases.json"
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama",
    "hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
    "hidden_act": "silu", "tie_word_embeddings": True,
    "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32",
}
WORDS = "the cat sat on a mat and saw what all the other cats had".split()
RECIPE = """local hone = require "hone"
return hone.train {
  model = hone.model { "model", init = "random" }, %s
  data = hone.data.alpaca { "rows.jsonl", val = 5 },
  batch = %s, optimizer = hone.adamw { lr = 1e-2, weight_decay = 0.1 },
  schedule = hone.cosine { warmup = 1 },
  global_batch = 6, steps = 5, eval = { every = 2 }, out = "out",
}
"""


def row(i):
    def words(n):
        return " ".join(WORDS[(i * i + k * (i % 5 + 1)) % len(WORDS)]
                        for k in range(n))
    return {"instruction": words(2 + i % 7), "output": words(3 + 5 * i % 23)}


def spread(folder, scale):
    """First weights this far from 0: gradients grow with them."""
    path = folder / "model/config.json"
    config = json.loads(path.read_text())
    config["initializer_range"] = scale
    path.write_text(json.dumps(config))


def main(folder):
    model = folder / "model"
    model.mkdir(parents=True)
    base = json.load(open(CASES))["bases"]["pieces"]
    vocab = max(base["model"]["vocab"].values()) + 1
    (model / "tokenizer.json").write_text(json.dumps(base))
    (model / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    (model / "config.json").write_text(
        json.dumps({**CONFIG, "vocab_size": vocab}))
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps(row(i)) + "\n" for i in range(40)))
    (folder / "full.lua").write_text(
        RECIPE % ("", "hone.pad { rows = 2, multiple = 16 }"))
    (folder / "lora.lua").write_text(
        RECIPE % ("adapter = hone.lora { r = 4, dropout = 0.1 },",
                  "hone.pack { tokens = 1024 }"))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
