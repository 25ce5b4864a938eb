#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Recipes drawn at random, planned, run: plan_random.py HONE [COUNT [FIRST]].

Measures the card, plans each of the recipes of ../random_recipes.py with the
GPU hidden, and runs it. The run's plan must be the same bytes, the device's
memory, as nvidia-smi counts it for the process, within 1 % or 64 MiB of what
was planned, and the driver must not be asked for memory or code after step 0
(QUIET: quiet.so, as tests/gpu/run builds it; without it that is left out). Two
thirds of them have a budget that makes them keep less than they could. Then as
many as REFUSED=100 that cannot fit: each must end with status 3 and leave no
folder. Recipes are planned beside each other, and run as they are planned.
LIMIT: seconds after which nothing is begun any more. CARD: a card's file or
name, not measured. KEEP: a folder for the card, the recipes and the plans, to
be made elsewhere again.
"""
import concurrent.futures
import contextlib
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

PLANNERS = os.cpu_count() or 4
RUNNERS, ROOM = 6, 64 << 10  # beside each other, MiB that they have in all
REFUSED = int(os.environ.get("REFUSED", 100))
LIMIT = float(os.environ.get("LIMIT", "inf"))
BEGIN = time.time()
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


def left():
    """Seconds until LIMIT, for what was begun before."""
    return None if LIMIT == float("inf") else \
        max(1, BEGIN + LIMIT - time.time())


class Room:
    """What runs beside each other has; more than all of it waits for all."""
    def __init__(self, runners, mib):
        self.runners, self.mib = runners, mib
        self.all, self.changed = mib, threading.Condition()

    @contextlib.contextmanager
    def taken(self, mib):
        mib = min(mib, self.all)
        with self.changed:
            self.changed.wait_for(lambda: self.runners and self.mib >= mib)
            self.runners, self.mib = self.runners - 1, self.mib - mib
        try:
            yield
        finally:
            with self.changed:
                self.runners, self.mib = self.runners + 1, self.mib + mib
                self.changed.notify_all()


class Case:
    def __init__(self, folder, number):
        self.number, self.rng = number, random.Random(number)
        self.folder = folder / str(number)
        self.what = random_recipes.write(self.folder, self.rng, "gpu")
        self.recipe, self.out = self.folder / "recipe.lua", self.folder / "out"
        self.why, self.text, self.used, self.quiet = "", "", None, ""
        self.least, self.late = 0, False

    def plan(self, hone, card, *more):
        return subprocess.run(
            [hone, "plan", self.recipe, "--json", "--card", card, *more],
            capture_output=True, text=True, timeout=left(),
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

    def planned(self):
        return json.loads(self.text)["device_bytes"]["total"] / MIB \
            if self.text else 0

    def parts(self):
        """MiB of the plan that no arena is made for."""
        uses = json.loads(self.text)["device_bytes"]["phases"]["train"]
        return ", ".join(f"{use} {uses.get(use, 0) / MIB:.0f}"
                         for use in ("context", "graphs")) + " planned"

    def run(self, hone, memory, quiet):
        """Once as it is, for its memory, and once watched."""
        env = dict(os.environ)
        if quiet:
            env["LD_PRELOAD"] = quiet
        if memory.alone and not quiet:
            # a look at the one before may still be under way
            time.sleep(0.3)
            memory.of(0)
        log = self.folder / f"log{bool(quiet):d}"
        with open(log, "w") as to:
            child = subprocess.Popen([hone, "run", self.recipe, "--fresh",
                                      "--out", self.out], stderr=to, env=env)
            try:
                child.wait(left())
            finally:
                child.kill()
        text = log.read_text()
        if child.returncode:
            self.why = f"{child.returncode}: {text[-600:]}"
        elif quiet:
            lines = [l for l in text.splitlines() if l.startswith("gpu quiet")]
            self.quiet = " ".join(lines).replace("gpu quiet: ", "")
            if " 0 after," not in self.quiet:
                self.why = self.quiet or "quiet.so says nothing"
        else:
            time.sleep(0.1)  # a look that began before it ended
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
                             capture_output=True, text=True, timeout=left())
        if run.returncode != 3 or "nothing was loaded" not in run.stderr:
            return f"{self.number}: {run.returncode}: {run.stderr[-300:]}"
        return f"{self.number}: {self.out} was made" if self.out.exists() \
            else ""

    def verdict(self):
        planned, off = self.planned(), 0
        if self.late and not self.used and not self.why:
            return
        if not self.why and self.used:
            off = self.used - planned
            if abs(off) > max(64, self.used / 100):
                self.why = "memory; " + self.parts()
        elif not self.why and not self.late:
            self.why = "nvidia-smi does not show it"
        keep = json.loads(self.text)["means"]["keep"][-1] if self.text else ""
        word = "FAIL: " + self.why if self.why else \
            "late" if self.late else "ok"
        print(f"{self.number:3} {self.what:28.28} {self.used or 0:6} "
              f"{planned:8.0f} {off:+5.0f}  {keep:14.14} {word}", flush=True)


class Test:
    def __init__(self, hone, card, folder, memory, quiet, numbers):
        self.hone, self.card = hone, card
        self.memory, self.quiet = memory, quiet
        self.cases = [Case(folder, n) for n in numbers]
        self.planners = threading.Semaphore(PLANNERS)
        self.room, self.fails, self.refused = Room(RUNNERS, ROOM), [], 0
        self.asking, self.known = threading.Lock(), False

    def within(self, case, room, work, *what):
        """WORK in its turn, unless there is no time left for it."""
        with room:
            case.late = case.late or time.time() - BEGIN > LIMIT
            try:
                return None if case.late else work(*what)
            except subprocess.TimeoutExpired:
                case.late = True

    def make(self, case):
        self.within(case, self.planners, case.make, self.hone, self.card)

    def run(self, case, quiet):
        if case.text and not case.why:
            self.within(case, self.room.taken(case.planned()), case.run,
                        self.hone, self.memory, quiet)

    def ask(self, case):
        """The first that runs says whether nvidia-smi calls processes by the
        numbers that they have here. If not, they run one by one."""
        with self.asking:
            if self.known or not case.text:
                return
            self.run(case, None)
            self.known = True
            if not case.used:
                self.memory.alone, self.room = True, Room(1, ROOM)

    def refuse(self, case):
        """Its part of those that cannot fit."""
        able = max(1, sum(not c.why for c in self.cases))
        for _ in range(-(-REFUSED // able) if case.least else 0):
            with self.planners:
                if self.refused >= REFUSED or time.time() - BEGIN > LIMIT:
                    return
                self.refused += 1
                try:
                    said = case.refuse(self.hone)
                except subprocess.TimeoutExpired:
                    self.refused -= 1
                    return
                self.fails += [said] if said else []

    def go(self, case):
        self.make(case)
        self.ask(case)
        if not case.used:
            self.run(case, None)
        if not self.memory.alone:
            self.watch(case)
            self.refuse(case)

    def watch(self, case):
        if self.quiet:
            self.run(case, self.quiet)
        case.verdict()

    def all(self):
        since("MiB used, planned, and the difference:")
        each(len(self.cases), self.go, self.cases)
        if self.memory.alone:  # from here on it is not looked at
            since("memory is measured")
            self.room = Room(RUNNERS, ROOM)
            each(len(self.cases), self.watch, self.cases)
        since("all have run")
        each(PLANNERS, self.refuse, self.cases)
        since(f"{self.refused} that cannot fit: {len(self.fails)} were not "
              "refused as they should be")
        for fail in self.fails[:5]:
            print(fail)
        good = sum(not c.why and not c.late for c in self.cases)
        late = sum(c.late and not c.why for c in self.cases)
        print(f"{good} of {len(self.cases)} as planned"
              + (f", {late} not tried for want of time" if late else "")
              + ("" if self.quiet else "; not watched: no CUPTI"))
        return good == len(self.cases) and not self.fails


def since(what):
    print(f"{time.time() - BEGIN:5.0f} s: {what}", flush=True)


def measure(folder):
    os.environ["HONE_CACHE"] = str(folder / "cache")
    if os.environ.get("CARD"):
        return os.environ["CARD"]
    subprocess.run([sys.argv[1], "doctor", "--card", ""], check=True,
                   stdout=subprocess.DEVNULL)
    since("the card is measured")
    return next((folder / "cache/cards").iterdir())


def each(threads, work, cases):
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, cases))


def keep(card, cases):
    to = pathlib.Path(os.environ["KEEP"])
    if os.path.exists(card):
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
    memory = Memory()
    try:
        card = measure(folder)
        test = Test(hone, card, folder, memory, os.environ.get("QUIET"),
                    range(first, first + count))
        good = test.all()
        if os.environ.get("KEEP"):
            keep(card, test.cases)
        return 0 if good else 1
    finally:
        memory.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
