#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A table of embeddings on the host: the run learns the same bits, and the plan
# has the table's bytes in pinned memory instead of the device's; a table that
# is the LM head too stays where it is.
set -u
hone=$1/bin/hone
source=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HONE_CACHE=$work/cache
small=(--plugin-dir "$1/tests/plugins" --set device=fake --set batch.tokens=512
    --set global_batch=4 --set steps=3 --set schedule.warmup=1)
bad=0

# The tiny model with a head of its own.
python3 - "$source/datasets/tiny" "$work/untied" <<'P' || exit
import json
import pathlib
import shutil
import struct
import sys

source, to = map(pathlib.Path, sys.argv[1:])
shutil.copytree(source, to)
config = json.loads((to / "config.json").read_text())
config["tie_word_embeddings"] = False
(to / "config.json").write_text(json.dumps(config))
raw = (to / "model.safetensors").read_bytes()
n, = struct.unpack("<Q", raw[:8])
header, data = json.loads(raw[8:8 + n]), raw[8 + n:]
words = header["model.embed_tokens.weight"]
begin, end = words["data_offsets"]
header["lm_head.weight"] = dict(words, data_offsets=[
    len(data), len(data) + end - begin])
text = json.dumps(header).encode()
(to / "model.safetensors").write_bytes(
    struct.pack("<Q", len(text)) + text + data + data[begin:end])
P

for where in device host; do
    for model in "$work/untied" "$source/datasets/tiny"; do
        name=$where-$(basename "$model")
        set -- --set model.path="$model" --set model.embeddings=$where
        "$hone" plan "$source/recipes/quickstart.lua" "${small[@]}" "$@" \
            --json >"$work/$name.json" 2>"$work/log" &&
            "$hone" run "$source/recipes/quickstart.lua" "${small[@]}" "$@" \
                --out "$work/$name" >"$work/log" 2>&1 ||
            { cat "$work/log"; bad=1; }
    done
done
cmp "$work/device-untied/adapter/adapter_model.safetensors" \
    "$work/host-untied/adapter/adapter_model.safetensors" || bad=1
python3 - "$work" <<'P' || bad=1
import json
import pathlib
import sys


def plan(name):
    p = json.loads((pathlib.Path(sys.argv[1]) / f"{name}.json").read_text())
    return [p[place]["phases"]["train"]["total"]
            for place in ("device_bytes", "pinned_bytes")]


table = 1024 * 128 * 4
a, b = plan("device-untied"), plan("host-untied")
assert b == [a[0] - table, a[1] + table], (a, b)
assert plan("device-tiny") == plan("host-tiny")
P
exit $bad
