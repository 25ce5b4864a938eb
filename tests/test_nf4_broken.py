#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Folders that bitsandbytes quantised, wrong in one way each: `hone check` says
which tensor and what is wrong with it, and exits with 2. One that is right but
made by an older version, whose second map begins with -1, is read as such."""
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

HONE = pathlib.Path(sys.argv[1]) / "bin/hone"
SOURCE = pathlib.Path(__file__).resolve().parents[1]
NAME = "model.layers.1.mlp.up_proj.weight"
STATE = NAME + ".quant_state.bitsandbytes__nf4"


def read(path):
    raw = path.read_bytes()
    n, = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8:8 + n]), raw[8 + n:]
    header.pop("__metadata__", None)
    return {name: [t["dtype"], t["shape"], data[slice(*t["data_offsets"])]]
            for name, t in header.items()}


def write(path, tensors):
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def state(**changes):
    def change(t):
        values = dict(json.loads(t[STATE][2]), **changes)
        raw = json.dumps(values).encode()
        t[STATE] = ["U8", [len(raw)], raw]
    return change


def poke(name, at, value):
    def change(t):
        raw = bytearray(t[name][2])
        raw[4 * at:4 * at + 4] = struct.pack("<f", value)
        t[name][2] = bytes(raw)
    return change


def drop(name):
    return lambda t: t.pop(name)


def cut(t):
    t[NAME + ".absmax"] = ["U8", [3], b"123"]


def to_fp4(t):
    t[STATE.replace("nf4", "fp4")] = t.pop(STATE)


def no_json(t):
    t[STATE] = ["U8", [4], b"{\"a\""]


WRONG = [
    (state(blocksize=128), "its blocks are not of 64"),
    (state(quant_type="fp4"), "is not that of nf4"),
    (state(shape=[384]), "it is no matrix"),
    (state(shape=[384, -128]), "its shape makes no sense"),
    (state(shape=[1 << 31, 1 << 31]), "needs"),
    (state(shape=[128, 384]), "has another shape than config.json"),
    (state(dtype="int8"), "its dtype is none of"),
    (state(nested_blocksize=64), "not quantised in blocks of 256"),
    (state(nested_offset="x"), "not quantised in blocks of 256"),
    (no_json, "is not that of nf4"),
    (to_fp4, "only nf4 is read"),
    (cut, "absmax' of 768 bytes; it has another size"),
    (drop(NAME + ".absmax"), "absmax' of 768 bytes; it is not there"),
    (drop(NAME + ".nested_absmax"), "nested_absmax'"),
    (drop(NAME + ".quant_map"), "quant_map'"),
    (drop(NAME), "needs '" + NAME + "'"),
    (poke(NAME + ".quant_map", 3, 0.5), "its quant_map is not that of nf4"),
    (poke(NAME + ".nested_quant_map", 9, 0.5), "is not the dynamic one"),
]


def hone(*args):
    return subprocess.run([HONE, *args], capture_output=True, text=True,
                          timeout=60, check=False)


def check(folder):
    return hone("check", SOURCE / "recipes/quickstart.lua", "--set",
                f"model.path={folder}")


def main():
    wrong = 0
    with tempfile.TemporaryDirectory() as work:
        good, bad = pathlib.Path(work) / "good", pathlib.Path(work) / "bad"
        hone("export", SOURCE / "datasets/tiny", "--to", "nf4", "--out", good)
        assert check(good).returncode == 0, check(good)
        shutil.copytree(good, bad)
        for change, words in WRONG:
            tensors = read(good / "model.safetensors")
            change(tensors)
            write(bad / "model.safetensors", tensors)
            said = check(bad)
            if said.returncode != 2 or words not in said.stderr or \
                    "Traceback" in said.stderr:
                print(f"no '{words}' in exit {said.returncode}: {said.stderr}")
                wrong += 1
        # -1 in the place of -0.993: the file's own numbers.
        tensors = read(good / "model.safetensors")
        poke(NAME + ".nested_quant_map", 0, -1.0)(tensors)
        tensors[NAME + ".absmax"][2] = bytes(768)
        write(bad / "model.safetensors", tensors)
        for name in (good, bad):
            hone("export", name, "--to", "merged", "--out", f"{name}.plain")
        old = read(pathlib.Path(f"{bad}.plain") / "model.safetensors")[NAME][2]
        codes = tensors[NAME][2]
        offset = json.loads(tensors[STATE][2])["nested_offset"]
        nested, = struct.unpack("<f", tensors[NAME + ".nested_absmax"][2][:4])
        values = struct.unpack("<16f", tensors[NAME + ".quant_map"][2])
        for i in range(0, 16384, 997):
            value = values[codes[i // 2] >> (0 if i % 2 else 4) & 15]
            want = value * (offset - nested)
            got, = struct.unpack("<f", old[4 * i:4 * i + 4])
            if abs(got - want) > 1e-6 * max(abs(want), 1e-6):
                print(f"element {i}: {got}, not {want}")
                wrong += 1
    return 1 if wrong else 0


sys.exit(main())
