#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A run that is killed with -9 at random moments, each time started again with
the same command, ends like one that nobody touched: the same bits of weights,
optimizer states and checkpoints, and the same metrics but for times, each step
once. Full and LoRA (with dropout), padded and packed, on the CPU and on the
test device; with data of one's own, and states in eight bits, if HONE_TEST_DATA
names stories260K. Three kills in four come when a random number of records is
written and then some part of a step on, in the midst of steps and saves; the
fourth by the clock, as a run may still be starting.

test_kill.py BUILD [KILLS] [SEED]: kills of each kind of run, 2 if not given.
"""
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TIMES = ("time_s", "tokens_per_s")
PAD, PACK = "hone.pad { rows = 2, multiple = 16 }", "hone.pack { tokens = 512 }"
LORA = "adapter = hone.lora { r = 4, dropout = 0.1 },"
RECIPE = """local hone = require "hone"
return hone.train {
  model = %s, %s
  data = %s,
  batch = %s, optimizer = hone.adamw { lr = 1e-2, weight_decay = 0.1 },
  schedule = %s, global_batch = 6, steps = %d, seed = 7,
  eval = { every = 4 }, save = { every = 3, keep = 2 },
}
"""
TINY = 'hone.model { "model", init = "random" }'
ROWS = 'hone.data.alpaca { "rows.jsonl", val = 5 }'
COSINE = "hone.cosine { warmup = 4 }"
ADAPTIVE = {"plateau": "hone.plateau { patience = 0, factor = 0.5 }",
            "backoff": "hone.backoff { ratio = 1.02, recover = 9 }"}


def environment(folder):
    return {**os.environ, "HONE_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def metrics(run):
    """The records without what a clock says; a list, in order."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES}
            for line in lines]


def records(run):
    """How many records there are by now."""
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def tensors(path):
    """Name to bytes; but for how long the metrics are, which times are in."""
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    return {name: data[start + t["data_offsets"][0]:
                       start + t["data_offsets"][1]]
            for name, t in header.items()
            if name not in ("__metadata__", "logger:metrics")}


def results(run):
    """All that the run learned, in its results and its checkpoints; and the
    names of all files that it left, but for events', which have a time."""
    found = {str(p.relative_to(run)): tensors(p) if
             p.suffix == ".safetensors" else None for p in run.rglob("*")}
    return {k: v for k, v in found.items() if "tfevents" not in k}


class Case:
    def __init__(self, name, hone, folder, recipe, extra):
        self.name, self.folder = name, folder
        (folder / f"{name}.lua").write_text(recipe)
        self.command = [hone, "run", str(folder / f"{name}.lua"), *extra]
        self.env = environment(folder)

    def start(self, out):
        return subprocess.Popen([*self.command, "--out", str(out)],
                                env=self.env, stderr=subprocess.PIPE)

    def finish(self, out):
        run = self.start(out)
        said = run.communicate()[1].decode()
        if run.returncode:
            sys.exit(f"{self.name}: exit {run.returncode}\n{said}")
        return said

    def reference(self):
        self.finish(self.folder / "prepared")  # so that it is not in the time
        begin = time.monotonic()
        self.whole = self.folder / f"{self.name}.whole"
        self.finish(self.whole)
        self.seconds = time.monotonic() - begin
        self.records = records(self.whole)
        shutil.rmtree(self.folder / "prepared")

    def wait(self, run, out, rng):
        """Until a moment to kill RUN, or until it is done."""
        if rng.random() < 0.25:
            time.sleep(rng.uniform(0, self.seconds))
            return
        until = rng.randint(records(out), self.records)
        while run.poll() is None and records(out) < until:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 2 * self.seconds / self.records))

    def kill(self, out, rng):
        """One start, killed if it is not done before. True: it was killed."""
        run = self.start(out)
        self.wait(run, out, rng)
        run.send_signal(signal.SIGKILL)
        said = run.communicate()[1].decode()
        if run.returncode not in (0, -signal.SIGKILL):
            sys.exit(f"{self.name}: exit {run.returncode}\n{said}")
        return run.returncode != 0

    def compare(self, out):
        if metrics(out) != metrics(self.whole):
            sys.exit(f"{self.name}: the metrics differ: {out}")
        if results(out) != results(self.whole):
            sys.exit(f"{self.name}: the results differ: {out}")

    def torment(self, kills, rng):
        """KILLS in all, over as many runs as that takes."""
        done = runs = resumed = saving = 0
        while done < kills:
            out = self.folder / f"{self.name}.{runs}"
            here = 0
            while done < kills and here < 4 and self.kill(out, rng):
                done += 1
                here += 1
                saving += any(out.rglob(".tmp-*"))
            resumed += "going on after" in self.finish(out)
            self.compare(out)
            shutil.rmtree(out)
            runs += 1
        print(f"{self.name}: {done} kills in {runs} runs, {saving} amid a "
              f"save; {resumed} runs went on from a checkpoint; the same bits",
              flush=True)
        return resumed


def cases(build, folder):
    hone = str(build / "bin/hone")
    fake = ["--plugin-dir", str(build / "tests/plugins"), "--set",
            "device=fake"]
    for adapter, how in (("", "full"), (LORA, "lora")):
        for batch, lay in ((PAD, "pad"), (PACK, "pack")):
            recipe = RECIPE % (TINY, adapter, ROWS, batch, COSINE, 30)
            yield Case(f"{how}-{lay}", hone, folder, recipe, [])
    yield Case("lora-pack-fake", hone, folder,
               RECIPE % (TINY, LORA, ROWS, PACK, COSINE, 30), fake)
    whole = "hone.pad { rows = 6 }"  # one micro-batch a step
    yield Case("full-bf16", hone, folder,
               RECIPE % (TINY, "", ROWS, whole, COSINE, 30),
               [*fake, "--set", "master=false", "--set",
                "optimizer.state=bf16"])
    # Gradients are too large for fp16 at first: steps are done again.
    wild = folder / "wild"
    shutil.copytree(folder / "model", wild)
    config = json.loads((wild / "config.json").read_text())
    config["initializer_range"] = 1
    (wild / "config.json").write_text(json.dumps(config))
    yield Case("full-fp16", hone, folder,
               RECIPE % (TINY.replace("model\"", "wild\""), "", ROWS, PAD,
                         COSINE, 12),
               ["--plugin-dir", str(build / "tests/fp16"), "--set",
                "packs=fp16,cpu", "--set", "device=cpu", "--set",
                "precision=fp16", "--set", "global_batch=2"])
    for name, schedule in ADAPTIVE.items():
        yield Case(f"full-{name}", hone, folder,
                   RECIPE % (TINY, "", ROWS, PAD, schedule, 30), [])
    data = os.environ.get("HONE_TEST_DATA")
    if not data:
        print("HONE_TEST_DATA is not set: without stories260K")
        return
    model = f'hone.model "{data}/weights/stories260K-hf"'
    rows = (f'hone.data.alpaca {{ "{data}/instruct/alpaca_fmt/'
            f'gsm8k_train_alpaca.json", val = 8, max_tokens = 128 }}')
    for adapter, how, state in (("", "full", "int8"), (LORA, "lora", "fp32")):
        yield Case(f"stories260K-{how}", hone, folder,
                   RECIPE % (model, adapter, rows, PACK, COSINE, 12),
                   ["--set", f"optimizer.state={state}"])


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    few = os.environ.get("HONE_TEST_DRAWS") == "few"
    kills = int(sys.argv[2]) if len(sys.argv) > 2 else 1 if few else 2
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else int(time.time())
    print(f"seed {seed}")
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work) / "tiny"
        subprocess.run([sys.executable, HERE / "tiny_run.py", folder],
                       check=True)
        resumed = 0
        # Of few draws a third of the cases is one, another each time.
        for case in list(cases(build, folder))[seed % 3 if few else 0::
                                               3 if few else 1]:
            case.reference()
            resumed += case.torment(kills, rng)
    if not resumed:
        sys.exit("no run went on from a checkpoint: nothing was shown")


if __name__ == "__main__":
    main()
