#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Section `again` of tests/gpu/run: two runs have the same bits, and so has one
that SIGINT stopped in the middle and the same command went on with: weights,
optimizer states, checkpoints and metrics. As graphs, with dropout, recomputing
and offloading."""
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import runs

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import test_kill

STEPS = 400
CASES = {
    "whole model": dict(batch="hone.pad { rows = 4 }"),
    "LoRA, dropout, recomputed": dict(
        adapter="hone.lora { r = 8, dropout = 0.1 }", keep='"none"',
        batch="hone.pack { tokens = 2048 }"),
    "whole model, offloaded": dict(batch="hone.pack { tokens = 2048 }",
                                   keep='"offload"'),
}


def differ(a, b):
    """What of two runs is not the same; "" if nothing."""
    first, second = test_kill.results(a), test_kill.results(b)
    if first.keys() != second.keys():
        return "files: " + ", ".join(sorted(first.keys() ^ second.keys()))
    files = [n for n in first if first[n] != second[n]]
    if test_kill.metrics(a) != test_kill.metrics(b):
        files.append("metrics")
    return ", ".join(files)


def interrupt(path, out):
    """SIGINT after a third of the records; the step it stopped behind."""
    program = subprocess.Popen(runs.command(path, out),
                               env=runs.environment(path.parent),
                               stderr=subprocess.PIPE, text=True)
    while program.poll() is None and test_kill.records(out) < STEPS // 3:
        time.sleep(0.001)
    program.send_signal(signal.SIGINT)
    text = program.communicate()[1]
    if program.returncode != 130:
        sys.exit(f"{path.stem}: exit {program.returncode} after SIGINT: "
                 f"{text[-300:]}")
    return test_kill.records(out)


def check(folder, name, keys):
    path = runs.recipe(
        folder / f"{name}.lua", shuffle="true", seed="7",
        model=f'hone.model "{runs.material("weights/stories260K-hf")}"',
        data='hone.data.alpaca { "rows.json", val = 16, max_tokens = 256 }',
        global_batch="8", steps=str(STEPS), eval="{ every = 150 }",
        save="{ every = 100, keep = 2 }", **keys)
    runs.run(path, folder / "one")
    runs.run(path, folder / "two")
    other = differ(folder / "one", folder / "two")
    runs.verdict(f"{name}: two runs", other or "the same bits", not other)
    at = interrupt(path, folder / "part")
    subprocess.run(runs.command(path, folder / "part"),
                   env=runs.environment(folder), check=True,
                   stderr=subprocess.DEVNULL)
    other = differ(folder / "one", folder / "part")
    runs.verdict(f"{name}: resumed", other or f"the same bits (stopped after "
                 f"{at} of {STEPS} steps)", not other)
    for run in "one", "two", "part":
        (folder / run).rename(folder / f"{name}.{run}")


def main(folder):
    runs.write_rows(folder / "rows.json", 0, 600)
    for name, keys in CASES.items():
        check(folder, name, keys)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hone-again-") as temporary:
        main(pathlib.Path(temporary))
    runs.finish()
