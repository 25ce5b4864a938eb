#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each family of recipes/models, from random weights: hone check, plan, and
two steps whole and with LoRA, of some with DoRA, their losses and gradient
norms those of Transformers and PEFT (parity/families.json holds the numbers, families.py
beside it makes them). What the keys of config.json change; and that hone
refuses what it cannot honour."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import tiny_run
from family_cases import CASES, SLIDES

HERE = pathlib.Path(__file__).parent
# Per layer, 3 layers: the weights of a llama are 9, and 2 with the embedding.
TENSORS = {"llama": 29, "mistral": 29, "qwen2": 29 + 9 + 1, "qwen3": 29 + 6,
           "gemma": 29, "gemma2": 29 + 6, "gemma3": 29 + 12, "phi3": 30 - 9}
LOSS, NORM = 1e-5, 1e-4
DORA = "llama", "qwen2", "phi3"  # with biases, with fused projections


def hone(folder, verb, recipe, *arguments):
    program = os.path.join(sys.argv[1], "bin/hone")
    done = subprocess.run(
        [program, verb, folder / recipe, *arguments], text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=dict(os.environ, HONE_CACHE=str(folder / "cache"),
                 OMP_NUM_THREADS="1"))
    return done.returncode, done.stdout


def configure(folder, family, keys):
    """A model of random weights, large enough that every key tells."""
    config = json.loads((folder / "model/config.json").read_text())
    vocab = config["vocab_size"]
    config = {**tiny_run.CONFIG, "vocab_size": vocab, "model_type": family,
              "initializer_range": 0.15, **keys}
    (folder / "model/config.json").write_text(json.dumps(config))


def train(folder, recipe, *more):
    """The first of two steps: its loss and gradient norm."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    if recipe == "lora.lua":
        more = [*more, "--set", "adapter.dropout=0"]
    code, text = hone(folder, "run", recipe, "--set", "steps=2", *more,
                      "--set", "shuffle=false", "--out", out)
    assert code == 0, text
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    steps = [m for m in lines if "loss" in m]
    assert len(steps) == 2 and steps[0]["loss"] != steps[1]["loss"], steps
    return steps[0]["loss"], steps[0]["grad_norm"]


def saved(folder):
    """Names of the weights that a whole run left."""
    with open(folder / "out/model/model.safetensors", "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
    return header.keys() - {"__metadata__"}


def near(got, want, limit):
    return abs(got - want) <= limit * abs(want)


def check_golden(folder, case, want):
    """Losses and norms against those of Transformers and PEFT."""
    configure(folder, *case)
    for verb in "check", "plan":
        code, text = hone(folder, verb, "lora.lua")
        assert code == 0, text
    loss, norm = train(folder, "full.lua")
    assert near(loss, want[0], LOSS) and near(norm, want[1], NORM), \
        (case, "full", loss, norm, want)
    again, norm = train(folder, "lora.lua")
    assert near(again, want[0], LOSS) and near(norm, want[2], NORM), \
        (case, "lora", again, norm, want)
    if len(want) > 3:
        again, norm = train(folder, "lora.lua", "--set", "adapter.dora=true")
        assert near(again, want[0], LOSS) and near(norm, want[3], NORM), \
            (case, "dora", again, norm, want)
    return loss


def refuses(folder, name, word, **keys):
    family, base = CASES[name]
    configure(folder, family, {**base, **keys})
    code, text = hone(folder, "plan", "full.lua")
    assert code and word in text, (family, keys, code, text)


def loss_of(folder, name, **keys):
    family, base = CASES[name]
    configure(folder, family, {**base, **keys})
    return train(folder, "full.lua")[0]


def main(folder):
    tiny_run.main(folder)
    golden = json.loads((HERE / "parity/families.json").read_text())
    golden = golden["loss_and_norms"]
    first = {n: check_golden(folder, CASES[n], golden[n]) for n in CASES}
    assert len(set(first.values())) == len(first), first

    for name, count in TENSORS.items():
        loss_of(folder, name)
        assert len(saved(folder)) == count, (name, saved(folder))

    # A window of null is none at all: the loss of a llama, to the last bit.
    assert loss_of(folder, "mistral", sliding_window=None) == first["llama"]
    for name in "qwen2", "qwen3":
        assert loss_of(folder, name, use_sliding_window=False) != first[name]
        assert loss_of(folder, name, max_window_layers=28,
                       layer_types=SLIDES) == first[name]
        refuses(folder, name, "layer_types[1]", layer_types=SLIDES,
                use_sliding_window=False)
        refuses(folder, name, "mlp_bias", mlp_bias=True)
    # Keys that are not there have the family's defaults; null is none.
    assert loss_of(folder, "gemma2", layer_types=SLIDES[1:] + SLIDES[:1]) != \
        first["gemma2"] == loss_of(folder, "gemma2", layer_types=[
            "sliding_attention", "full_attention", "sliding_attention"])
    assert loss_of(folder, "gemma3_capped", sliding_window_pattern=3) != \
        first["gemma3_capped"]
    refuses(folder, "llama", "has no 'rms_norm_eps'", rms_norm_eps=None)
    refuses(folder, "mistral", "attention_bias", attention_bias=True)
    refuses(folder, "phi3", "interpolate_factor", interpolate_factor=2)
    refuses(folder, "gemma", "activation", hidden_act="relu")
    refuses(folder, "gemma2", "use_bidirectional_attention",
            use_bidirectional_attention=True)
    for name in "llama", "phi3", "gemma3":
        refuses(folder, name, "dynamic",
                rope_scaling={"rope_type": "dynamic", "factor": 4})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hone-families-") as temporary:
        main(pathlib.Path(temporary) / "tiny")
