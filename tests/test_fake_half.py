#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Training in fp16 on the device `fake`, whose streams are late: the bits of
the CPU, whatever is kept, wherever the optimizer's states are, with micro-
batches of several sizes, evaluations and checkpoints; also where gradients are
too large and steps are done again: as often, with the same scales.

test_fake_half.py BUILD
"""
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from tiny_run import spread

BUILD = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent
LEARNED = ("step", "loss", "grad_norm", "lr", "rows", "eval_loss", "loss_scale")
DEVICES = {
    "cpu": ("--plugin-dir", BUILD / "tests/fp16", "--set", "packs=fp16,cpu"),
    "fake": ("--plugin-dir", BUILD / "tests/plugins"),
}
LORA = """local hone = require "hone"
return hone.train {
  model = hone.model { "model", init = "random", storage = "nf4",
                       nested = true },
  data = hone.data.alpaca { "rows.jsonl", val = 5 },
  adapter = hone.lora { r = 4, alpha = 16, rslora = true },
  batch = hone.pad { rows = 3, multiple = 16 }, global_batch = 7,
  optimizer = hone.OPTIMIZER { lr = 1e-2 }, seed = 4, steps = 4,
  eval = { every = 2 }, save = { every = 2, keep = 1 },
  precision = "fp16",
"""
FULL = """local hone = require "hone"
return hone.train {
  model = hone.model { "model", init = "random" },
  data = hone.data.alpaca { "rows.jsonl", val = 5 },
  batch = hone.pad { rows = 2, multiple = 16 }, global_batch = 4,
  optimizer = hone.OPTIMIZER { lr = 1e-2 }, steps = 4, eval = { every = 2 },
  save = { every = 2, keep = 1 }, precision = "fp16",
"""
CHUNKS = "logits_chunk = 64, mlp_chunk = 32"
# name, recipe, optimizer, what else, how far the first weights are from 0
CASES = (
    ("muon", LORA, "muon", f'keep = "all", states = "host", {CHUNKS}', 0.02),
    ("adafactor", LORA, "adafactor", 'keep = "away", states = "host"', 0.02),
    ("again", FULL, "adamw", 'keep = "all", states = "host"', 1.0),
    ("again-muon", FULL, "muon", f'states = "host", {CHUNKS}', 1.0),
)


def run(folder, recipe, device):
    """What was learned, and the steps that were done again."""
    out = folder / f"{recipe}.{device}"
    env = {**os.environ, "HONE_CACHE": str(folder / "cache"),
           "HONE_LOG": "detail", "HONE_FAKE_JITTER": "3", "HONE_FAKE_HALF": "1",
           "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        [BUILD / "bin/hone", "run", f"{recipe}.lua", "--fresh", "--out", out,
         "--set", f"device={device}", *DEVICES[device]], env=env, cwd=folder,
        text=True, capture_output=True, timeout=240)
    if done.returncode:
        sys.exit(f"{out}: exit {done.returncode}\n{done.stderr}")
    steps = [{k: v for k, v in json.loads(line).items() if k in LEARNED}
             for line in (out / "metrics.jsonl").read_text().splitlines()]
    files = sorted(out.glob("*/*.safetensors"))
    assert files, f"{out}: no results"
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    again = re.findall(r"step \d+: gradients .* a scale of \d+", done.stderr)
    return steps, hashes, again


def main():
    few = os.environ.get("HONE_TEST_DRAWS") == "few"
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work) / "tiny"
        subprocess.run([sys.executable, HERE / "tiny_run.py", folder],
                       check=True)
        for name, recipe, optimizer, more, scale in CASES:
            if few and name not in ("muon", "again"):
                continue
            spread(folder, scale)
            (folder / f"{name}.lua").write_text(
                recipe.replace("OPTIMIZER", optimizer) + f"  {more},\n}}\n")
            cpu, fake = (run(folder, name, device) for device in DEVICES)
            for what, a, b in zip(("metrics", "results", "done again"), cpu,
                                  fake):
                assert a == b, f"{name}: {what} differ:\n{a}\n{b}"
            assert bool(cpu[2]) == name.startswith("again"), (name, cpu[2])


if __name__ == "__main__":
    main()
