#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Recipes drawn at random, planned and run: plan_random.py HONE [COUNT [FIRST]].

Measures the card, plans each of the recipes of ../random_recipes.py with the
GPU hidden, and runs it. The run's plan must be the same bytes, the device's
memory, as nvidia-smi counts it for the process, within 1 % or 64 MiB of what
was planned, and the driver must not be asked for memory or code after step 0
(QUIET: quiet.so, as tests/gpu/run builds it; without it that is left out). Two
thirds of them have a budget that makes them keep less than they could. Then as
many that cannot fit: each must end with status 3 and leave no folder. KEEP:
a folder for the card, the recipes and the plans, to be made elsewhere again.
"""
import concurrent.futures
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import random_recipes  # noqa: E402

PLANNERS, RUNNERS, REFUSED = 12, 3, 100
PLENTY = "memory=40GiB"
MIB = 1 << 20


class Memory:
    """MiB of each process on the GPU, at its most. ALONE: what all of them
    take, for where nvidia-smi calls processes otherwise than they do."""
    def __init__(self):
        self.most, self.ends, self.alone = {}, False, False
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self):
        while not self.ends:
            out = subprocess.run(
                ["nvidia-smi", "--query-compute-apps=pid,used_memory",
                 "--format=csv,noheader,nounits"], capture_output=True,
                text=True)
            now = {0: 0}
            for line in out.stdout.splitlines():
                pid, _, used = line.partition(",")
                if used.strip().isdigit():
                    now[int(pid)] = int(used)
                    now[0] += int(used)
            for pid, used in now.items():
                self.most[pid] = max(self.most.get(pid, 0), used)
            time.sleep(0.02)

    def of(self, pid):
        return self.most.pop(0, None) if self.alone else self.most.get(pid)

    def close(self):
        self.ends = True
        self.thread.join()


class Case:
    def __init__(self, folder, number):
        self.number, self.rng = number, random.Random(number)
        self.folder = folder / str(number)
        self.what = random_recipes.write(self.folder, self.rng, "gpu")
        self.recipe, self.out = self.folder / "recipe.lua", self.folder / "out"
        self.why, self.text, self.used, self.quiet = "", "", None, ""

    def plan(self, hone, card, *more):
        return subprocess.run(
            [hone, "plan", self.recipe, "--json", "--card", card, *more],
            capture_output=True, text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})

    def make(self, hone, card):
        """A budget of its own, and the plan."""
        plenty = self.plan(hone, card, "--set", PLENTY)
        little = self.plan(hone, card, "--set", "memory=1MiB")
        self.least = random_recipes.least(little.stderr)
        if plenty.returncode or little.returncode != 3 or not self.least:
            self.why = plenty.stderr if plenty.returncode else little.stderr
            return
        most = json.loads(plenty.stdout)["device_bytes"]["total"]
        random_recipes.allow(self.recipe, random_recipes.budget(
            self.rng, self.least, most))
        made = self.plan(hone, card)
        self.text, self.why = made.stdout, made.stderr
        if not made.returncode:
            self.why = ""

    def run(self, hone, memory, quiet):
        """Once as it is, for its memory, and once watched."""
        env = dict(os.environ)
        if quiet:
            env["LD_PRELOAD"] = quiet
        log = self.folder / f"log{bool(quiet):d}"
        with open(log, "w") as to:
            child = subprocess.Popen([hone, "run", self.recipe, "--fresh",
                                      "--out", self.out], stderr=to, env=env)
            child.wait()
        text = log.read_text()
        if child.returncode:
            self.why = f"{child.returncode}: {text[-600:]}"
        elif quiet:
            lines = [l for l in text.splitlines() if l.startswith("gpu quiet")]
            self.quiet = " ".join(lines).replace("gpu quiet: ", "")
        else:
            time.sleep(0.1) # a look that began before it ended
            self.used = memory.of(child.pid)
            if not random_recipes.same_plan(
                    self.text, (self.out / "plan.json").read_text()):
                self.why = "the plans differ"
                shutil.copy(self.out / "plan.json", self.folder)
        shutil.rmtree(self.out, ignore_errors=True)

    def refuse(self, hone):
        """With less than it needs; a way that fails, or nothing."""
        budget = int(self.least * self.rng.choice((0.3, 0.8, 0.97))) >> 10
        run = subprocess.run([hone, "run", self.recipe, "--set",
                              f"memory={budget}KiB", "--out", self.out],
                             capture_output=True, text=True)
        if run.returncode != 3 or "nothing was loaded" not in run.stderr:
            return f"{self.number}: {run.returncode}: {run.stderr[-300:]}"
        return f"{self.number}: {self.out} was made" if self.out.exists() else ""

    def verdict(self):
        planned = json.loads(self.text)["device_bytes"]["total"] / MIB \
            if self.text else 0
        if not self.why and not self.used:
            self.why = "nvidia-smi does not show it"
        if not self.why and abs(planned - self.used) > max(64, self.used / 100):
            self.why = "memory"
        off = self.used - planned if self.used else 0
        keep = json.loads(self.text)["means"]["keep"][-1] if self.text else ""
        print(f"{self.number:3} {self.what:28.28} {self.used or 0:6} "
              f"{planned:8.0f} {off:+5.0f}  {keep:14.14} "
              f"{'FAIL: ' + self.why if self.why else 'ok'}", flush=True)

    def watched(self, hone, memory, quiet):
        self.run(hone, memory, quiet)
        if not self.why and " 0 after," not in self.quiet:
            self.why = self.quiet or "quiet.so says nothing"
        if self.why:
            print(f"{self.number:3} FAIL: {self.why}", flush=True)


def measure(folder):
    os.environ["HONE_CACHE"] = str(folder / "cache")
    subprocess.run([sys.argv[1], "doctor", "--card", ""], check=True,
                   stdout=subprocess.DEVNULL)
    return next((folder / "cache/cards").iterdir())


def each(threads, work, cases):
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, cases))


def keep(card, cases):
    to = pathlib.Path(os.environ["KEEP"])
    shutil.copy(card, to / "card.json")
    for case in cases:
        if case.text:
            (to / f"{case.number}.json").write_text(case.text)
            shutil.copy(case.recipe, to / f"{case.number}.lua")


def main():
    hone = sys.argv[1] = os.path.abspath(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hone-plan-",
                                           dir="/dev/shm"))
    memory, quiet, begin = Memory(), os.environ.get("QUIET"), time.time()

    def since(what):
        print(f"{time.time() - begin:5.0f} s: {what}", flush=True)
    try:
        card = measure(folder)
        since("the card is measured")
        cases = [Case(folder, n) for n in range(first, first + count)]
        each(PLANNERS, lambda c: c.make(hone, card), cases)
        since("all are planned")
        if os.environ.get("KEEP"):
            keep(card, cases)
        able = [c for c in cases if not c.why]
        able[0].run(hone, memory, None)
        memory.alone = not able[0].used
        runners = 1 if memory.alone else RUNNERS
        each(runners, lambda c: c.run(hone, memory, None),
             able[0 if memory.alone else 1:])
        since("all have run; MiB used, planned, and the difference:")
        for case in cases:
            case.verdict()
        if quiet:
            each(RUNNERS, lambda c: c.watched(hone, memory, quiet),
                 [c for c in able if c.used])
            since("all have run once more, watched")
        tight = [c for c in able for _ in range(-(-REFUSED // len(able)))]
        fails = [f for f in each(PLANNERS, lambda c: c.refuse(hone),
                                 tight[:REFUSED]) if f]
        since(f"{REFUSED} that cannot fit: {len(fails)} were not refused as "
              "they should be")
        print("\n".join(fails[:5]))
        good = sum(not c.why for c in cases)
        print(f"{good} of {count} as planned"
              + ("" if quiet else "; not watched: no CUPTI"))
        return 0 if good == count and not fails else 1
    finally:
        memory.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
