#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A run keeps to its budget, or is refused before it takes anything.

Recipes drawn at random that cannot fit end with exit 3, a hundred times, on the
CPU and on the device `fake`, and leave no folder; each thing that they are
offered does fit. What fits learns the same whatever the budget, and
a run that is gone on with keeps the means that it began with.
"""
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

import random_recipes
from random_recipes import UNITS

HERE = pathlib.Path(__file__).parent
BUILD = pathlib.Path(sys.argv[1])
HONE = str(BUILD / "bin/hone")
FAKE = ["--plugin-dir", str(BUILD / "tests/plugins"), "--set", "device=fake"]
CPU = ["--set", "device=cpu"]
FEW = os.environ.get("HONE_TEST_DRAWS") == "few"
REFUSALS, BUDGETS = (10, 3) if FEW else (100, 5)

bad = []


def hone(*args):
    return subprocess.run([HONE, *map(str, args)], text=True,
                          capture_output=True)


def sets(*pairs):
    return [a for pair in pairs for a in ("--set", pair)]


def least_of(text):
    found = re.search(r"needs ([0-9.]+) (\w+) of memory at the least", text)
    if not found:
        sys.exit("no figure in: " + text)
    return float(found[1]) * UNITS[found[2]]


def losses(out):
    return [json.loads(line) for line in open(out / "metrics.jsonl")]


def plan_of(*args):
    out = hone("plan", "--json", *args)
    if out.returncode:
        sys.exit(f"{args}: {out.stderr}")
    return json.loads(out.stdout)


def total(plan):
    return max(plan["device_bytes"]["total"], plan["host_bytes"]["total"]
               if not plan["device_bytes"]["total"] else 0)


# ------------------------------------------------------------ a hundred times

def apply(recipe, offer):
    """A recipe beside it with what was offered in it."""
    text = ""
    for key, value in re.findall(r"([\w.]+) = (\"\w+\"|\d+|hone.*})", offer):
        outer, _, inner = key.partition(".")
        text += f"{outer} = " + (f"{{ {inner} = {value} }}" if inner else value)
        text += ", "
    to = recipe.with_name("offer.lua")
    to.write_text('local hone = require "hone"\n'
                  f'return hone.extend("recipe.lua", {{ {text} }})\n')
    return to


def check_offers(recipe, device, budget, refusal):
    """Each does fit, and takes what it was said to take."""
    offers = re.findall(r"\n  (.*): ([0-9.]+) (\w+), [0-9.]+ times", refusal)
    for offer, number, unit in offers:
        again = hone("plan", "--json", apply(recipe, offer), *device, *budget)
        if again.returncode and "no row" in again.stderr:
            continue # they were cut until nothing was left to learn
        name = f"{recipe.read_text()} {budget}: offered {offer}"
        if again.returncode:
            bad.append(f"{name}: {again.stderr}")
            continue
        claim, takes = float(number) * UNITS[unit], total(json.loads(again.stdout))
        # On the host arenas count, which grow by blocks of a MiB.
        slack = 1 << 20 if device is CPU else 0.0051 * UNITS[unit]
        if takes > claim + slack or (takes < claim - slack and
                                     "max_tokens" not in offer):
            bad.append(f"{name}: {number} {unit}, it takes {takes}")
    return len(offers)


def refuse_many(work):
    rng = random.Random(7)
    done = offers = 0
    while done < REFUSALS:
        folder, out = work / f"refused.{done}", work / "never"
        random_recipes.write(folder, rng, "tiny")
        recipe, device = folder / "recipe.lua", rng.choice([CPU, FAKE, FAKE])
        least = 0
        for share in (0, 0.5, 0.97):
            budget = sets(f"memory={max(4096, int(least * share)) >> 10}KiB")
            run = hone("run", recipe, *device, *budget, "--out", out)
            done += 1
            if run.returncode != 3 or "nothing was loaded" not in run.stderr:
                bad.append(f"{recipe.read_text()} {budget}: {run.returncode}: "
                           f"{run.stderr}")
            if out.exists():
                bad.append(f"{recipe.read_text()} {budget}: {out} was made")
            least = least or least_of(run.stderr)
        offers += check_offers(recipe, device, budget, run.stderr)
    if offers < REFUSALS / 5:
        bad.append(f"{offers} offers in {done} refusals")


# --------------------------------------------------------- the same is learned

def same_whatever(work, recipe, device):
    """Budgets from all that it takes down to the least."""
    how = [work / "tiny" / recipe, *device]
    if recipe == "full.lua": # so that training takes more than loading
        how += sets("batch.rows=6")
    whole = work / "whole"
    hone("run", *how, "--out", whole, "--fresh")
    plan = json.load(open(whole / "plan.json"))
    most = total(plan)
    least = least_of(hone("plan", *how, "--set", "memory=64KiB").stderr)
    kinds = {json.dumps(plan["means"])}
    for i in range(BUDGETS):
        budget = int(least * 1.03 + (most - least) * i / BUDGETS)
        out = work / f"fits.{i}"
        run = hone("run", *how, "--set", f"memory={budget >> 10}KiB", "--out",
                   out, "--fresh")
        if run.returncode:
            bad.append(f"{recipe} {device[-1]}: {budget}: {run.stderr}")
            continue
        plan = json.load(open(out / "plan.json"))
        means = plan["means"]
        kinds.add(json.dumps(means))
        if total(plan) > budget:
            bad.append(f"{recipe}: {total(plan)} bytes, {budget} are allowed")
        exact = (means["tokens"] == 0 and means["logits_chunk"] == 0 and
                 means["mlp_chunk"] == 0)
        for a, b in zip(losses(whole), losses(out), strict=True):
            for key in ("loss", "grad_norm", "eval_loss"):
                x, y = a.get(key), b.get(key)
                if x != y and (exact or abs(x / y - 1) > 1e-4):
                    bad.append(f"{recipe} {device[-1]} {means}: {key} {x} {y}")
    if len(kinds) < 2:
        bad.append(f"{recipe} {device[-1]}: one way for all budgets")


# ------------------------------------------------------------------ gone on

def interrupted(work, how, out):
    """The run, ended by a signal after some steps."""
    run = subprocess.Popen([HONE, "run", *map(str, how), "--out", str(out)],
                           stderr=subprocess.DEVNULL)
    metrics = out / "metrics.jsonl"
    while run.poll() is None:
        if metrics.exists() and '"step": 5,' in metrics.read_text():
            run.send_signal(signal.SIGINT)
            break
        time.sleep(0.01)
    if run.wait() != 130:
        bad.append(f"{how}: not interrupted")


def goes_on(work):
    how = [work / "tiny/full.lua", *FAKE, *sets("steps=60")]
    least = least_of(hone("plan", *how, "--set", "memory=64KiB").stderr)
    tight = ["--set", f"memory={int(least * 1.2) >> 10}KiB"]
    whole, out = work / "straight", work / "stopped"
    hone("run", *how, *tight, "--out", whole)
    began = json.load(open(whole / "plan.json"))["means"]
    if not any("none" in k or "light" in k or "offload" in k
               for k in began["keep"]):
        bad.append(f"nothing is computed again: {began}")
    interrupted(work, [*how, *tight], out)
    run = hone("run", *how, "--set", "memory=1GiB", "--out", out)
    if run.returncode or json.load(open(out / "plan.json"))["means"] != began:
        bad.append(f"gone on with other means: {run.stderr}")
    for a, b in zip(losses(whole), losses(out), strict=True):
        if (a["loss"] if "loss" in a else a["eval_loss"]) != \
                (b["loss"] if "loss" in b else b["eval_loss"]):
            bad.append(f"gone on: {a} {b}")
    # Where they do not fit any more it is said.
    interrupted(work, [*how, *sets("memory=1GiB")], work / "wide")
    run = hone("run", *how, *tight, "--out", work / "wide")
    if run.returncode or "no longer fits" not in run.stderr:
        bad.append(f"fits no longer: {run.returncode} {run.stderr}")
    interrupted(work, [*how, *sets("memory=1GiB")], work / "narrow")
    run = hone("run", *how, "--set", f"memory={int(least * 0.9) >> 10}KiB",
               "--out", work / "narrow")
    if run.returncode != 3 or "--fresh" not in run.stderr:
        bad.append(f"does not fit: {run.returncode} {run.stderr}")


# ------------------------------------------------------------------- the plan

def shows(work):
    how = [work / "tiny/lora.lua", *CPU]
    plan = plan_of(*how)
    if len(plan["means"]["keep"]) != len(plan["buckets"]) or \
            {*plan["means"]["keep"]} != {"3 all"}:
        bad.append(f"all should be kept: {plan['means']}")
    runners = plan["runners_up"]
    if not runners or any(not r["bytes"] or not r["times"] or not r["keep"]
                          for r in runners):
        bad.append(f"runners-up: {runners}")
    pinned = plan_of(*how, *sets("keep=none", "logits_chunk=64"))
    if {*pinned["means"]["keep"]} != {"3 none"} or \
            pinned["means"]["logits_chunk"] != 64:
        bad.append(f"pinned: {pinned['means']}")
    text = hone("plan", *how).stdout
    if "chosen  " not in text or "\nor  " not in text:
        bad.append(f"not shown: {text}")


def main():
    os.environ["OMP_NUM_THREADS"] = "2"
    os.environ["OMP_WAIT_POLICY"] = "passive"
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        os.environ["HONE_CACHE"] = str(work / "cache")
        subprocess.run([sys.executable, HERE / "tiny_run.py", work / "tiny"],
                       check=True)
        shows(work)
        for recipe in ("full.lua", "lora.lua"):
            for device in (CPU, FAKE):
                same_whatever(work, recipe, device)
        goes_on(work)
        refuse_many(work)
    for line in bad[:20]:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
