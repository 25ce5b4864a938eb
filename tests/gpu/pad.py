#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pad.py MODEL: section `pad` of tests/gpu/run. What buckets of lengths save:
LoRA on rows of very different lengths, 64 a step, padded to the longest of
their micro-batch and by a bucket of 64 tokens, against every row padded to
2,048; packed beside it. Real tokens/s (tokens of padding do not count), device
memory as the driver counts it. The first step of each run is not timed."""
import os
import pathlib
import sys
import tempfile

import runs

MODEL = pathlib.Path(sys.argv[1]).resolve()
ROWS = runs.material("instruct/llamafactory/alpaca_en_demo.json")
CASES = {  # name: layout, steps
    "every row padded to 2,048": ("hone.pad { rows = 4, multiple = 2048 }", 2),
    "pad": ("hone.pad { rows = 8 }", 10),
    "pack": ("hone.pack { tokens = 8192 }", 10),
}


def measure(folder, name, layout, steps):
    path = runs.recipe(
        folder / f"{name}.lua", model=f'hone.model "{MODEL}"',
        adapter="hone.lora { r = 16 }",
        data=f'hone.data.alpaca {{ "{ROWS}", max_tokens = 2048 }}',
        batch=layout, optimizer="hone.adamw { lr = 1e-4 }", global_batch=64,
        steps=int(os.environ.get("STEPS", steps)))
    records, used = runs.run_measured(path)
    steps = [r for r in records if "loss" in r]
    tokens = sum(s["tokens"] for s in steps[1:])
    seconds = sum(s["time_s"] for s in steps[1:])
    return tokens / seconds, used, steps[0]["loss"], \
        steps[0]["device_bytes"] / (1 << 20)


def main(folder):
    found = {name: measure(folder, name, *case) for name, case in
             CASES.items()}
    base, most = found["every row padded to 2,048"][:2]
    for name, (rate, used, loss, planned) in found.items():
        good = None
        if name == "pad":
            good = rate >= 3 * base and used < most
        runs.verdict(name, f"{rate:.0f} tokens/s ({rate / base:.2f}), "
                     f"{used} MiB used, {planned:.0f} planned, loss {loss:.4f}",
                     good)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hone-pad-") as temporary:
        main(pathlib.Path(temporary))
    runs.finish()
