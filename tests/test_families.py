#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each family of recipes/models, from random weights: hone check, plan, and
two steps whole and with LoRA. What its keys of config.json change: the weights
there are, the loss; and that hone refuses what it cannot honour."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import tiny_run

HONE = os.path.join(sys.argv[1], "bin/hone")
WINDOW = {"use_sliding_window": True, "sliding_window": 4,
          "max_window_layers": 1}
FAMILIES = {
    "llama": {},
    "mistral": {"sliding_window": 4},
    "qwen2": {**WINDOW, "tie_word_embeddings": False},
    "qwen3": {**WINDOW, "head_dim": 16, "attention_bias": False},
}
# Per layer, 3 layers: the weights of a llama are 9, and 2 with the embedding.
TENSORS = {"llama": 29, "mistral": 29, "qwen2": 29 + 9 + 1, "qwen3": 29 + 6}
SLIDES = ["full_attention"] + 2 * ["sliding_attention"]


def hone(folder, verb, recipe, *arguments):
    done = subprocess.run(
        [HONE, verb, folder / recipe, *arguments], text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=dict(os.environ, HONE_CACHE=str(folder / "cache"),
                 OMP_NUM_THREADS="1"))
    return done.returncode, done.stdout


def configure(folder, family, **keys):
    config = json.loads((folder / "model/config.json").read_text())
    vocab = config["vocab_size"]
    config = {**tiny_run.CONFIG, "vocab_size": vocab, "model_type": family,
              **FAMILIES[family], **keys}
    (folder / "model/config.json").write_text(json.dumps(config))


def train(folder, recipe):
    """The losses of two steps."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    code, text = hone(folder, "run", recipe, "--set", "steps=2", "--out", out)
    assert code == 0, text
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    losses = [m["loss"] for m in lines if "loss" in m]
    assert len(losses) == 2 and losses[0] != losses[1], losses
    return losses


def saved(folder):
    """Names of the weights that a whole run left."""
    with open(folder / "out/model/model.safetensors", "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
    return header.keys() - {"__metadata__"}


def refuses(folder, family, word, **keys):
    configure(folder, family, **keys)
    code, text = hone(folder, "plan", "full.lua")
    assert code and word in text, (family, keys, code, text)


def main(folder):
    tiny_run.main(folder)
    first = {}
    for family in FAMILIES:
        configure(folder, family)
        for recipe in "lora.lua", "full.lua":
            for verb in "check", "plan":
                code, text = hone(folder, verb, recipe)
                assert code == 0, text
            first[family] = train(folder, recipe)[0]
        assert len(saved(folder)) == TENSORS[family], (family, saved(folder))

    # A window of null is none at all: the loss of a llama, to the last bit.
    configure(folder, "mistral", sliding_window=None)
    assert train(folder, "full.lua")[0] == first["llama"] != first["mistral"]
    for family in "qwen2", "qwen3":
        configure(folder, family, use_sliding_window=False)
        assert train(folder, "full.lua")[0] != first[family]
        configure(folder, family, max_window_layers=28, layer_types=SLIDES)
        assert train(folder, "full.lua")[0] == first[family]
        refuses(folder, family, "layer_types[1]", layer_types=SLIDES,
                use_sliding_window=False)
        refuses(folder, family, "mlp_bias", mlp_bias=True)
    configure(folder, "qwen3", attention_bias=True)
    train(folder, "full.lua")
    assert len(saved(folder)) == TENSORS["qwen3"] + 12
    refuses(folder, "mistral", "attention_bias", attention_bias=True)
    refuses(folder, "qwen2", "yarn", rope_scaling={"type": "yarn", "factor": 4})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hone-families-") as temporary:
        main(pathlib.Path(temporary) / "tiny")
