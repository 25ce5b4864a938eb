#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Training in fp16 with scaled gradients, on the CPU with a pack of tests/fp16:
losses are those of fp32; gradients that are too large for fp16 lower the scale
and their step is done again, with its number, rows and rate; two runs give the
same bits. What no pack computes in fp16 is refused.

test_fp16.py BUILD
"""
import hashlib
import json
import math
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

from tiny_run import spread

BUILD = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent
STEPS = 20
TIMES = ("time_s", "tokens_per_s")
FP16 = ("--plugin-dir", BUILD / "tests/fp16", "--set", "packs=fp16,cpu",
        "--set", "precision=fp16")


def hone(folder, *arguments):
    env = {**os.environ, "HONE_CACHE": str(folder / "cache"),
           "HONE_LOG": "detail", "OMP_WAIT_POLICY": "passive"}
    return subprocess.run([BUILD / "bin/hone", *arguments], env=env,
                          cwd=folder, text=True, capture_output=True)


def train(folder, out, *arguments):
    """Records of the steps, what was said, and a hash of the weights."""
    done = hone(folder, "run", "full.lua", "--fresh", "--out", out,
                "--set", "device=cpu", "--set", f"steps={STEPS}",
                "--set", "global_batch=2", *arguments)
    if done.returncode:
        sys.exit(f"{out}: exit {done.returncode}\n{done.stderr}")
    lines = (folder / out / "metrics.jsonl").read_text().splitlines()
    steps = [{k: v for k, v in json.loads(line).items() if k not in TIMES}
             for line in lines if '"loss"' in line]
    weights = (folder / out / "model/model.safetensors").read_bytes()
    return steps, done.stderr, hashlib.sha256(weights).hexdigest()


def check_losses(folder):
    spread(folder, 0.3)
    wide, _, _ = train(folder, "wide")
    half, said, _ = train(folder, "half", *FP16)
    assert "loss_scale" not in wide[0]
    assert half[0]["loss_scale"] == 65536, half[0]
    assert "done again" not in said
    for a, b in zip(wide[:3], half[:3]):
        assert math.isclose(a["loss"], b["loss"], rel_tol=5e-3), (a, b)
    assert math.isclose(wide[0]["grad_norm"], half[0]["grad_norm"],
                        rel_tol=5e-3), (wide[0], half[0])


def check_overflow(folder):
    spread(folder, 1.0)
    steps, said, weights = train(folder, "large", *FP16)
    again = re.findall(r"step (\d+): gradients .* a scale of (\d+)", said)
    assert again, said
    assert [s["step"] for s in steps] == list(range(1, STEPS + 1))
    assert steps[-1]["loss_scale"] == float(again[-1][1])
    assert all(math.isfinite(s["grad_norm"]) for s in steps)
    assert steps[-1]["loss"] < 0.7 * steps[0]["loss"], steps
    # As in fp32: no rows were left out.
    wide, _, _ = train(folder, "wide")
    for key in ("rows", "tokens", "target_tokens", "lr"):
        assert [s[key] for s in steps] == [s[key] for s in wide], key
    assert train(folder, "twice", *FP16)[::2] == (steps, weights)
    print(f"{len(again)} steps done again, the scale ends at "
          f"{steps[-1]['loss_scale']:g}")


def matrices(path):
    """Numbers of the layers' matrices, which Muon and Adafactor differ in."""
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    for name, what in json.loads(data[8:end]).items():
        if ".layers." in name and "norm" not in name:
            first, last = (end + at for at in what["data_offsets"])
            yield from struct.unpack(f"<{(last - first) // 4}f",
                                     data[first:last])


def check_optimizers(folder):
    """What they compute with products, of gradients that are 0 in fp16."""
    spread(folder, 0.001)
    text = (folder / "full.lua").read_text()
    for name in ("muon", "adafactor"):
        (folder / "full.lua").write_text(
            re.sub("hone.adamw {[^}]*}", f"hone.{name} {{ lr = 1e-2 }}", text))
        few = ("--set", "steps=3")
        train(folder, "wide", *few)
        train(folder, "half", *FP16, *few)
        wide, half = (list(matrices(folder / out / "model/model.safetensors"))
                      for out in ("wide", "half"))
        off = math.dist(wide, half) / math.hypot(*wide)
        print(f"{name}: {off:.4f} off")
        assert off < 0.1, name
    (folder / "full.lua").write_text(text)


def check_refusals(folder):
    for extra, message in (((), "computes in fp32; leave one of the two out"),
                           (("--set", "packs=cpu"), "computes in fp32 only")):
        done = hone(folder, "run", "full.lua", "--out", "none", "--set",
                    "device=cpu", "--set", "precision=fp16", *extra)
        assert done.returncode == 2 and message in done.stderr, done


def main():
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work) / "tiny"
        subprocess.run([sys.executable, HERE / "tiny_run.py", folder],
                       check=True)
        check_losses(folder)
        check_overflow(folder)
        check_optimizers(folder)
        check_refusals(folder)


if __name__ == "__main__":
    main()
