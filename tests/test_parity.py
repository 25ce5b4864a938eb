#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""hone run against what Transformers and PEFT reported for the same run: the
loss of every step, its gradient norm, the held-out losses, and what was counted.
tests/parity/*.json hold their numbers and the command that made them.

Full: stories260K, where $HONE_TEST_DATA has it. LoRA: SmolLM2-135M, where
$HONE_TEST_SMOLLM2 names its folder (fp32) and $HONE_TEST_SMOLLM2_LORA the
adapter that both start from (a PEFT folder)."""
import hashlib
import json
import os
import subprocess
import sys
import tempfile

LOSS, NORM = 1e-5, 1e-4
HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.environ.get("HONE_TEST_DATA", "")
ROWS = os.path.join(DATA, "instruct/alpaca_fmt/gsm8k_train_alpaca.json")

FULL = """
  model     = hone.model "%(model)s",
  data      = hone.data.alpaca { "%(rows)s", val = 16, max_tokens = 512 },
  batch     = hone.pad { rows = 4 },
  optimizer = hone.adamw { lr = 1e-3, weight_decay = 0.01 },
  schedule  = hone.cosine { warmup = 4 },
  global_batch = 8, steps = 20,"""

LORA = """
  model     = hone.model "%(model)s",
  adapter   = hone.lora { init = "%(adapter)s" },
  data      = hone.data.alpaca { "%(rows)s", val = 8, max_tokens = 512 },
  batch     = hone.pad { rows = 2 },
  optimizer = hone.adamw { lr = 2e-4, weight_decay = 0.01 },
  schedule  = hone.constant {},
  global_batch = 2, steps = 10,"""

HEAD = 'local hone = require "hone"\nreturn hone.train {'
TAIL = ' seed = 0, shuffle = false,\n  device = "cpu", out = "run",\n}\n'


def golden(name):
    with open(os.path.join(HERE, "parity", name), encoding="utf-8") as f:
        return json.load(f)


def train(hone, recipe, folder):
    """metrics.jsonl of a run: its steps, its held-out losses."""
    path = os.path.join(folder, "recipe.lua")
    with open(path, "w", encoding="utf-8") as f:
        f.write(HEAD + recipe + TAIL)
    env = dict(os.environ, HONE_CACHE=os.path.join(folder, "cache"))
    env.setdefault("OMP_WAIT_POLICY", "passive")
    done = subprocess.run([hone, "run", path], env=env, text=True,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit("hone run: %d\n%s" % (done.returncode, done.stderr))
    with open(os.path.join(folder, "run", "metrics.jsonl"),
              encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    return ([m for m in lines if "loss" in m],
            [m for m in lines if "eval_loss" in m])


def check(name, what, got, want, limit):
    """The relative difference, or an end where it is too large."""
    off = abs(got - want) / (abs(want) or 1)
    if off > limit:
        sys.exit("%s: %s is %.9g, should be %.9g: %.1e apart, at most %.0e" %
                 (name, what, got, want, off, limit))
    return off


def compare(hone, name, recipe):
    want = golden(name)
    with tempfile.TemporaryDirectory(prefix="hone-parity-") as folder:
        steps, held_out = train(hone, recipe, folder)
    if len(steps) != len(want["steps"]) or len(held_out) != 2:
        sys.exit("%s: %d steps and %d evaluations" %
                 (name, len(steps), len(held_out)))
    worst = [0.0, 0.0, 0.0]
    for m, (loss, norm, lr, tokens, targets) in zip(steps, want["steps"]):
        at = "step %d: " % m["step"]
        worst[0] = max(worst[0], check(name, at + "loss", m["loss"], loss,
                                       LOSS))
        worst[1] = max(worst[1], check(name, at + "grad_norm", m["grad_norm"],
                                       norm, NORM))
        check(name, at + "lr", m["lr"], lr, 1e-7)
        check(name, at + "tokens", m["tokens"], tokens, 0)
        check(name, at + "target_tokens", m["target_tokens"], targets, 0)
    for m, loss in zip(held_out, want["held_out"]):
        worst[2] = max(worst[2], check(name, "eval_loss", m["eval_loss"], loss,
                                       LOSS))
        check(name, "eval_target_tokens", m["eval_target_tokens"],
              want["held_out_targets"], 0)
    print("%s: %d steps; at most %.1e in loss, %.1e in gradient norm, %.1e in "
          "held-out loss" % (name, len(steps), *worst))


def smollm2(hone):
    name = "smollm2_lora.json"
    model = os.environ.get("HONE_TEST_SMOLLM2")
    adapter = os.environ.get("HONE_TEST_SMOLLM2_LORA")
    if not model or not adapter:
        print(name + ": skipped: $HONE_TEST_SMOLLM2 and "
              "$HONE_TEST_SMOLLM2_LORA do not name the model and the adapter")
        return
    with open(os.path.join(adapter, "adapter_model.safetensors"), "rb") as f:
        if hashlib.sha256(f.read()).hexdigest() != \
                golden(name)["adapter_sha256"]:
            sys.exit("%s: another adapter than the numbers were made from; its "
                     "command makes it (OUT/init)" % adapter)
    compare(hone, name, LORA % {"model": model, "adapter": adapter,
                                "rows": ROWS})


def main():
    hone = os.path.join(sys.argv[1], "bin", "hone")
    model = os.path.join(DATA, "weights/stories260K-hf")
    if not os.path.exists(ROWS) or not os.path.exists(model):
        print("skipped: $HONE_TEST_DATA has no weights/stories260K-hf or no "
              "instruct/alpaca_fmt/gsm8k_train_alpaca.json")
        return
    compare(hone, "stories260k_full.json", FULL % {"model": model,
                                                   "rows": ROWS})
    smollm2(hone)


if __name__ == "__main__":
    main()
