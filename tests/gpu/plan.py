#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The plan against what happens: plan.py HONE [CASE...].

Measures the card here, and for each case plans with it, with the GPU in sight
and without, runs, and prints the seconds of a step and the device's memory,
predicted and measured. The three plans must be the same byte for byte, memory
within 1 % or 64 MiB of what nvidia-smi says, time within 15 %. Models are of
random weights, in /dev/shm.
"""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import models

sys.path.insert(0, str(models.ROOT / "tests"))
from random_recipes import same_plan  # noqa: E402

# model, adapter, rows, length, steps, what else the model, optimizer and
# recipe have
LORA = "adapter = hone.lora { r = 16, alpha = 16 },"
CASES = {
    "smol-full": ("smollm-135m", "", 8, 1024, 20, "", "", ""),
    "smol-256": ("smollm-135m", "", 4, 256, 30, "", "", ""),
    "smol-lora": ("smollm-135m", LORA, 4, 512, 30, "", "", ""),
    "qwen-lora": ("qwen-0.6b", LORA, 4, 2048, 12, "", "", ""),
    "qwen-full": ("qwen-0.6b", "", 2, 2048, 12, "", "", ""),
    "1b-lora": ("llama-1b", LORA, 4, 2048, 12, "", "", ""),
    "1b-short": ("llama-1b", LORA, 2, 512, 20, "", "", ""),
    "1b-fp8": ("llama-1b", LORA, 4, 2048, 12, ', storage = "fp8"', "", ""),
    "1b-full": ("llama-1b", "", 2, 2048, 12, "", "", 'keep = "none",'),
    "1b-int8": ("llama-1b", "", 4, 2048, 9, "", ', state = "int8"',
                'keep = "none",'),
    "8b8-lora": ("llama-8b-8", LORA, 4, 2048, 9, "", "", ""),
    "8b8-fp8": ("llama-8b-8", LORA, 4, 2048, 9, ', storage = "fp8"', "", ""),
    "8b8-nf4": ("llama-8b-8", LORA, 4, 2048, 9, ', storage = "nf4"', "", ""),
    "8b8-none": ("llama-8b-8", LORA, 4, 2048, 9, "", "", 'keep = "none",'),
    "8b8-offload": ("llama-8b-8", LORA, 4, 2048, 9, "", "",
                    'keep = "offload",'),
    "8b8-long": ("llama-8b-8", LORA, 1, 8192, 9, "", "", ""),
}


def write_case(folder, name):
    model, adapter, rows, length, steps, storage, states, more = CASES[name]
    if not (folder / model).exists():
        models.write(folder / model, models.SHAPES[model])
    data = folder / f"rows-{length}.jsonl"
    if not data.exists():
        draw = random.Random(0)
        with open(data, "w") as file:
            for _ in range(64):
                ids = [draw.randrange(1, 480) for _ in range(length)]
                file.write(json.dumps({"input_ids": ids}) + "\n")
    recipe = folder / f"{name}.lua"
    recipe.write_text(f"""local hone = require "hone"
return hone.train {{
  model = hone.model {{ "{folder / model}"{storage} }}, {adapter}
  data = hone.data.tokenized {{ "{data}" }},
  batch = hone.pad {{ rows = {rows} }},
  optimizer = hone.adamw {{ lr = 1e-5{states} }},
  schedule = hone.constant {{}},
  global_batch = {rows}, steps = {steps}, device = "cuda", {more}
  out = "{folder / 'out'}", memory = "{memory('total') - 2048}MiB",
}}
""")
    return recipe


def memory(what):
    """MiB of the GPU: used, or total."""
    out = subprocess.run(["nvidia-smi", f"--query-gpu=memory.{what}",
                          "--format=csv,noheader,nounits"],
                         capture_output=True, text=True)
    return int(out.stdout.split()[0])


def run(hone, recipe):
    """The most MiB that it took beside what was taken before."""
    before = memory("used")
    with open(recipe.with_suffix(".log"), "w") as log:
        child = subprocess.Popen([hone, "run", recipe, "--fresh"], stderr=log)
        most = before
        while child.poll() is None:
            most = max(most, memory("used"))
            time.sleep(0.1)
    if child.returncode:
        sys.exit(recipe.with_suffix(".log").read_text())
    return most - before


def try_case(hone, folder, name, card):
    recipe = write_case(folder, name)
    plan = [hone, "plan", recipe, "--json", "--card", card]
    here = subprocess.run(plan, capture_output=True, text=True, check=True)
    blind = subprocess.run(plan, capture_output=True, text=True, check=True,
                           env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    taken = run(hone, recipe)
    out = folder / "out"
    same = here.stdout == blind.stdout and same_plan(
        blind.stdout, (out / "plan.json").read_text())
    steps = [json.loads(line) for line in open(out / "metrics.jsonl")]
    times = [s["time_s"] for s in steps if "loss" in s][2:]
    shutil.rmtree(out)
    p = json.loads(here.stdout)
    step, measured = p["seconds_per_step"], sum(times) / len(times)
    bytes_ = p["device_bytes"]["total"] / 2**20
    good = (same and abs(step / measured - 1) <= 0.15 and
            abs(bytes_ - taken) <= max(64, taken / 100))
    print(f"{name:12} {1e3 * measured:9.2f} {1e3 * step:9.2f} "
          f"{100 * (step / measured - 1):+7.1f} {taken:9} {bytes_:9.0f}  "
          f"{'same' if same else 'DIFFER':7} {'ok' if good else 'FAIL'}",
          flush=True)
    return good


def main():
    hone = os.path.abspath(sys.argv[1])
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hone-plan-",
                                           dir="/dev/shm"))
    try:
        os.environ["HONE_CACHE"] = str(folder / "cache")
        subprocess.run([hone, "doctor", "--card", ""], check=True,
                       stdout=subprocess.DEVNULL)
        card = next((folder / "cache/cards").iterdir())
        print(f"{'plan':12} {'ms a step':>9} {'predicted':>9} {'%':>7} "
              f"{'MiB used':>9} {'planned':>9}  plans")
        good = [try_case(hone, folder, name, card)
                for name in sys.argv[2:] or CASES]
        return 0 if all(good) else 1
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
