#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Preparing data that is killed at random moments, each time started again with
the same command, gives the shards of a preparation that nobody touched, goes on
from where it was, and leaves nothing else behind. So does one that is told to
stop, and one that is killed while it puts the shards together; and two at a
time do the work once.

test_prep_kill.py BUILD [KILLS] [ROWS] [SEED]: kills at random moments, 3 if not
given.
"""
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

BUILD = pathlib.Path(sys.argv[1]).resolve()
KILLS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
ROWS = int(sys.argv[3]) if len(sys.argv) > 3 else 3000
DRAW = random.Random(sys.argv[4] if len(sys.argv) > 4 else "7")
TINY = pathlib.Path(__file__).resolve().parent.parent / "datasets/tiny"
# The function takes about a millisecond, so that there is time to be killed.
LOOPS, LEAST_S = 50000, 1.5
RECIPE = """local hone = require "hone"
return hone.train {
  model = hone.model "%s",
  data = hone.data.prompt_completion { "a.jsonl", "b.jsonl", val = 0.1,
    long = "split", max_tokens = 40, broken = "skip", map = function(row)
      for i = 1, %d do row.n = i end
      return row
    end },
  batch = hone.pack {}, optimizer = hone.adamw {}, global_batch = 8, epochs = 1,
}
"""


def write_rows(folder):
    words = "a cat sat on the mat and saw the rat".split()
    for name in "ab":
        with open(folder / f"{name}.jsonl", "w") as file:
            for i in range(ROWS // 2):
                text = " ".join(DRAW.choices(words, k=DRAW.randrange(1, 30)))
                row = {"prompt": f"{name}{i} ", "completion": text}
                file.write(json.dumps(row) + "\n" if i % 97 else "{broken\n")


def start(folder, cache):
    env = {**os.environ, "HONE_CACHE": str(folder / cache), "HONE_WORKERS": "2"}
    return subprocess.Popen([BUILD / "bin/hone", "prep", folder / "recipe.lua"],
                            env=env, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)


def finish(folder, cache):
    process = start(folder, cache)
    _, said = process.communicate()
    assert process.returncode == 0, said
    made = next((folder / cache).glob("data/*"))
    return {p.name: p.read_bytes() for p in made.iterdir()}, said


def killed_at_random(folder, whole, seconds):
    going_on = 0
    for _ in range(KILLS):
        process = start(folder, "random")
        try:
            process.wait(DRAW.uniform(0.05, max(1.3, 3 * seconds / KILLS)))
        except subprocess.TimeoutExpired:
            process.kill()
        said = process.communicate()[1]
        going_on += "going on behind row" in said
        if process.returncode == 0:
            break
    made, said = finish(folder, "random")
    going_on += "going on behind row" in said
    assert made == whole, "killed at random: other shards"
    assert going_on or KILLS < 10, "no process went on from another"
    return going_on


def killed_when(folder, whole, name, cache, how=signal.SIGKILL):
    """As soon as a file is there."""
    process = start(folder, cache)
    while process.poll() is None:
        if next((folder / cache).glob(f"data/*/{name}"), None):
            process.send_signal(how)
            break
    said = process.communicate()[1]
    if how == signal.SIGINT:
        assert process.returncode == 130 and "goes on from there" in said, said
    made, said = finish(folder, cache)
    assert made == whole, f"killed when {name} was there: other shards"


def two_at_a_time(folder, whole):
    pair = [start(folder, "both") for _ in range(2)]
    said = [process.communicate()[1] for process in pair]
    assert [p.returncode for p in pair] == [0, 0], said
    assert sum("waiting for it" in text for text in said) == 1, said
    assert finish(folder, "both")[0] == whole


with tempfile.TemporaryDirectory() as temporary:
    here = pathlib.Path(temporary)
    write_rows(here)
    took = 0
    while took < LEAST_S:  # a machine may be quicker than that
        (here / "recipe.lua").write_text(RECIPE % (TINY, LOOPS))
        began = time.time()
        untouched, _ = finish(here, f"whole{LOOPS}")
        took = time.time() - began
        LOOPS *= 2
    assert sorted(untouched) == ["lock", "train.rows", "train.shard",
                                 "val.rows", "val.shard"], sorted(untouched)
    print(f"{took:.1f} s, {killed_at_random(here, untouched, took)} of {KILLS} "
          "kills were gone on from")
    for moment in ("prep.state", "train.rows.part", "val.shard"):
        killed_when(here, untouched, moment, moment)
    killed_when(here, untouched, "prep.state", "told", signal.SIGINT)
    two_at_a_time(here, untouched)
