#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Section `layout` of tests/gpu/run: padded, packed, accumulated, recomputed
and offloaded steps learn the same.

In fp32 the losses of every step agree to 1e-5. In bf16 two layouts are no
further apart (the root mean square over the steps) than two orders of the same
rows, which differ in nothing but the order of sums. Most runs are the same bits
for some steps, until one rounding goes the other way: how far two of them get
depends on when that is, which is chance. So it is the root mean square over all
pairs that counts, and what leaving out one run at a time makes of it (the
jackknife) says how sure that is: layouts may be two standard errors beyond
orders. Those are drawn in each of the layouts that differ in more than what is
kept; the farthest are the bound. hone lays the rows of a step out by length, so
that the order in the file decides among rows of one length alone. Beside it how
far Transformers in bf16 (fp32 weights under autocast) is from itself when each
step's rows change places."""
import concurrent.futures
import itertools
import json
import math
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

import runs

MODEL = runs.material("weights/stories260K-hf")
STEPS, BATCH, RATE, MOST = 12, 16, 1e-3, 512
LAYOUTS = {
    "padded": ("hone.pad { rows = 16 }", "all"),
    "padded, accumulated": ("hone.pad { rows = 3 }", "all"),
    "packed": ("hone.pack { tokens = 8192 }", "all"),
    "packed, accumulated": ("hone.pack { tokens = 1024 }", "all"),
    "recomputed": ("hone.pad { rows = 16 }", "none"),
    "packed, offloaded": ("hone.pack { tokens = 2048 }", "offload"),
}
ORDERS = range(len(LAYOUTS))
ORDERED = "padded", "packed", "packed, accumulated"


def order(seed):
    """The rows of each step, shuffled among themselves; 0: as they are."""
    draw, found = random.Random(seed), []
    for step in range(STEPS):
        part = list(range(step * BATCH, (step + 1) * BATCH))
        if seed:
            draw.shuffle(part)
        found += part
    return found


def hone(folder, name, layout, keep, precision, seed=0):
    batch = runs.recipe(
        folder / f"{name}-{precision}.lua", model=f'hone.model "{MODEL}"',
        data=f'hone.data.alpaca {{ "rows-{seed}.json", max_tokens = {MOST} }}',
        batch=layout, keep=f'"{keep}"', precision=f'"{precision}"',
        optimizer=f"hone.adamw {{ lr = {RATE} }}", shuffle="false",
        global_batch=BATCH, steps=STEPS)
    return runs.losses(runs.run(batch))


def transformers(seed):
    import torch
    rows = runs.write_rows(pathlib.Path(os.devnull), 0, STEPS * BATCH,
                           order(seed))
    rows = runs.encode(rows, MODEL, MOST)
    model = runs.load(MODEL, "float32", runs.DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0)
    found = []
    for step in range(STEPS):
        part = rows[step * BATCH:(step + 1) * BATCH]
        count, total = runs.targets(part), 0.0
        for at in range(0, BATCH, 4):
            with torch.autocast(runs.DEVICE, dtype=torch.bfloat16):
                loss, _ = runs.row_loss(model, part[at:at + 4], runs.DEVICE)
            (loss / count).backward()
            total += float(loss.detach()) / count
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        found.append(total)
    return found


def apart(a, b):
    return math.sqrt(sum((x / y - 1) ** 2 for x, y in zip(a, b)) / len(a))


def mean_apart(found):
    """Over all pairs of FOUND."""
    return math.sqrt(statistics.mean(
        apart(a, b) ** 2 for a, b in itertools.combinations(found, 2)))


class Spread:
    """How far apart runs are, and the standard error of that."""

    def __init__(self, found):
        found = list(found.values())
        without = [mean_apart(found[:i] + found[i + 1:])
                   for i in range(len(found))]
        self.far = mean_apart(found)
        self.error = math.sqrt((len(found) - 1) *
                               statistics.pvariance(without))

    def __str__(self):
        return f"{self.far:.1e} +- {self.error:.1e}"

    def within(self, other):
        return self.far <= other.far + 2 * math.hypot(self.error, other.error)


def all_of(runs_of):
    """RUNS_OF a name: the arguments of hone(). Their losses by name."""
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        waits = {name: pool.submit(hone, *of) for name, of in runs_of.items()}
        return {name: wait.result() for name, wait in waits.items()}


def all_layouts(folder, precision):
    return all_of({name: (folder, name, *layout, precision)
                   for name, layout in LAYOUTS.items()})


def all_orders(folder, name, precision):
    return all_of({seed: (folder, f"{name}, order {seed}", *LAYOUTS[name],
                          precision, seed) for seed in ORDERS})


def start_rival():
    """Beside hone, in a process of its own: nothing is timed here."""
    return subprocess.Popen([sys.executable, __file__, "rival"], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def show_rival(process):
    out, err = process.communicate()
    if process.returncode:
        runs.verdict("orders, Transformers, bf16", err.splitlines()[-1][-58:])
        return
    runs.verdict("orders, Transformers, bf16", str(Spread(
        dict(enumerate(json.loads(out.splitlines()[-1]))))))


def main(folder):
    rival = start_rival()
    for seed in ORDERS:
        runs.write_rows(folder / f"rows-{seed}.json", 0, STEPS * BATCH,
                        order(seed))
    single = all_layouts(folder, "fp32")
    worst, name = max((abs(x / y - 1), n) for n, other in single.items()
                      for x, y in zip(other, single["padded"]))
    runs.verdict("layouts, fp32", f"{worst:.1e} at most ({name})",
                 worst <= 1e-5)
    precision = "fp32" if runs.DEVICE == "cpu" else "bf16"
    orders = []
    for name in ORDERED:
        orders.append(Spread(all_orders(folder, name, precision)))
        runs.verdict(f"orders, {name}, bf16", str(orders[-1]))
    layouts = Spread(all_layouts(folder, precision))
    runs.verdict("layouts, bf16", str(layouts),
                 layouts.within(max(orders, key=lambda o: o.far)))
    show_rival(rival)


if __name__ == "__main__":
    if sys.argv[1:] == ["rival"]:
        print(json.dumps([transformers(seed) for seed in ORDERS]))
        sys.exit()
    with tempfile.TemporaryDirectory(prefix="hone-layout-") as temporary:
        main(pathlib.Path(temporary))
    runs.finish()
