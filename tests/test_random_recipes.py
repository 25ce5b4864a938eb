#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Recipes drawn at random, on the CPU and on the device `fake`: a plan is the
same bytes made twice, and that of the run; the run fits in the arenas that were
planned, which each checks itself before step 0, and takes nothing after that
(quiet.so, as in test_quiet.sh). A third has all the memory it likes, the others
have a budget between that and the least. Of larger ones the process's peak is
held against the plan. test_random_recipes.py BUILD [FIRST [COUNT]]"""
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

import random_recipes
from random_recipes import same_plan

BUILD = pathlib.Path(sys.argv[1]).resolve()
HONE = BUILD / "bin/hone"
QUIET = BUILD / "tests/quiet.so" # not there with a sanitizer
FEW = os.environ.get("HONE_TEST_DRAWS") == "few"
FAKE = ["--plugin-dir", BUILD / "tests/plugins", "--set", "device=fake"]
CPU = ["--set", "device=cpu"]
SILENT = ("quiet: malloc 0 calloc 0 realloc 0 aligned 0 mmap 0 brk 0 thread 0 "
          "KiB 0")
bad = []


def hone(*args, **env):
    return subprocess.run([HONE, *args], text=True, capture_output=True,
                          env={**os.environ, **env})


def fit(recipe, how, rng):
    """The recipe with a budget of its own, drawn; what it is."""
    plenty = hone("plan", recipe, "--json", *how, "--set", "memory=64GiB")
    if plenty.returncode:
        return plenty
    plan = json.loads(plenty.stdout)
    most = (plan["device_bytes"]["total"] or plan["host_bytes"]["total"])
    little = hone("plan", recipe, "--json", *how, "--set", "memory=4KiB")
    least = random_recipes.least(little.stderr)
    if little.returncode != 3 or not least or least > most + most // 50 + 16384:
        return little
    bytes_ = random_recipes.budget(rng, least, most)
    random_recipes.allow(recipe, bytes_)
    return hone("plan", recipe, "--json", *how)


def try_one(folder, number):
    rng = random.Random(number)
    what = random_recipes.write(folder, rng, "tiny")
    how = FAKE if rng.random() < 0.4 else CPU
    recipe, out = folder / "recipe.lua", folder / "out"
    name = f"{number} ({what}, {how[-1]})"
    plan = fit(recipe, how, rng)
    if plan.returncode:
        bad.append(f"{name}: {plan.returncode}: {plan.stderr}")
        return
    again = hone("plan", recipe, "--json", *how)
    if again.stdout != plan.stdout:
        bad.append(f"{name}: two plans:\n{plan.stdout}{again.stdout}")
    quiet = {"LD_PRELOAD": str(QUIET)} if QUIET.exists() and how is CPU else {}
    run = hone("run", recipe, *how, "--out", out, **quiet)
    if run.returncode:
        bad.append(f"{name}: {run.returncode}: {run.stderr}")
        return
    if not same_plan(plan.stdout, (out / "plan.json").read_text()):
        bad.append(f"{name}: planned, and in the run:\n{plan.stdout}"
                   f"{(out / 'plan.json').read_text()}")
    if quiet and SILENT not in run.stderr.splitlines():
        bad.append(f"{name}: not quiet: {run.stderr}")


# ------------------------------------------------------------ what it took

def peak(recipe, out):
    """Anonymous memory of a run at its most, and what was planned."""
    most = 0
    with open(recipe.with_suffix(".log"), "w") as log:
        child = subprocess.Popen([HONE, "run", recipe, *CPU, "--out", out],
                                 stderr=log)
        while child.poll() is None:
            try:
                text = open(f"/proc/{child.pid}/status").read()
            except OSError:
                break
            found = re.search(r"RssAnon:\s*(\d+)", text)
            most = max(most, int(found[1]) << 10 if found else 0)
            time.sleep(0.005)
    if child.wait():
        bad.append(f"{recipe}: {recipe.with_suffix('.log').read_text()}")
    plan = json.loads((out / "plan.json").read_text())
    return most, plan["host_bytes"]["total"]


def took_as_planned(work):
    """Libraries and stacks take as much with a model of a few KiB."""
    beyond = None
    for number in range(1 if FEW else 4):
        folder = work / f"peak.{number}"
        what = random_recipes.write(folder, random.Random(number),
                                    "small" if number else "tiny")
        recipe = folder / "recipe.lua"
        hone("prep", recipe) # by a process of its own
        took, planned = peak(recipe, folder / "out")
        if beyond is None:
            beyond = took - planned
        elif abs(took - beyond - planned) > planned / 20 + (4 << 20):
            bad.append(f"{what}: planned {planned}, took {took} with {beyond} "
                       "beyond what is planned")


def main():
    os.environ["OMP_NUM_THREADS"] = "2"
    os.environ["OMP_WAIT_POLICY"] = "passive"
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 4 if FEW else 16
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        os.environ["HONE_CACHE"] = str(work / "cache")
        for number in range(first, first + count):
            try_one(work / str(number), number)
        took_as_planned(work)
    for line in bad[:20]:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
