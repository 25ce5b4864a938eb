#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a refusal names as the least is enough.

Recipes drawn at random are refused within next to nothing, on the CPU and on
the device `fake`, and one for a GPU where the build has the pack for it; within
the bytes that the refusal names, as it writes them and with the last digit one
more, each has a plan that keeps to them.
test_least.py BUILD [FIRST [COUNT]]
"""
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import random_recipes

BUILD = pathlib.Path(sys.argv[1])
HONE = str(BUILD / "bin/hone")
FAKE = ["--plugin-dir", BUILD / "tests/plugins", "--set", "device=fake"]
CPU = ["--set", "device=cpu"]
GPU = ["--card", "h100-80gb"]
FOR_GPU = 16 # all is sent out, and sizes differ in what that takes
FEW = os.environ.get("HONE_TEST_DRAWS") == "few"


def plan(recipe, device, memory):
    return subprocess.run(
        [HONE, "plan", recipe, "--json", *device, "--set", f"memory={memory}"],
        text=True, capture_output=True)


def try_one(folder, number, device, size="tiny"):
    """What is wrong with it, one text each."""
    what = random_recipes.write(folder, random.Random(number), size)
    recipe = folder / "recipe.lua"
    refused = plan(recipe, device, "4KiB")
    named = re.search(r"needs ([0-9.]+) (\w+) of memory at the least",
                      refused.stderr)
    if refused.returncode != 3 or not named:
        return [f"{number} ({what}): {refused.returncode} {refused.stderr}"]
    bad, unit = [], random_recipes.UNITS[named[2]]
    for text in (named[1], f"{float(named[1]) + 0.01:.2f}"):
        out = plan(recipe, device, text + named[2])
        name = f"{number} ({what}, {device[-1]}): {text} {named[2]}"
        if out.returncode:
            bad.append(f"{name}: {out.stderr}")
            continue
        made = json.loads(out.stdout)
        takes = made["host_bytes" if device is CPU else
                     "device_bytes"]["total"]
        if takes > float(text) * unit:
            bad.append(f"{name}: takes {takes}")
    return bad


def main():
    os.environ["OMP_NUM_THREADS"] = "2"
    os.environ["OMP_WAIT_POLICY"] = "passive"
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 4 if FEW else 16
    bad = []
    with tempfile.TemporaryDirectory() as work:
        os.environ["HONE_CACHE"] = work + "/cache"
        for n in range(first, first + count):
            bad += try_one(pathlib.Path(work) / str(n), n,
                           CPU if n % 3 == 1 else FAKE)
        if (BUILD / "lib/hone/plugins/cuda.so").exists():
            bad += try_one(pathlib.Path(work) / "gpu", FOR_GPU, GPU, "gpu")
    for line in bad[:20]:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
