#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Weights held as nf4: planned to the byte; trained on, they are the dequantised
# weights to rounding, from a plain folder and from one that is quantised
# already; a run on them resumes; merged, the adapter's model is what it was
# trained as; export of an export is the same file.
set -u
hone=$1/bin/hone
source=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HONE_CACHE=$work/cache
recipe=$source/recipes/quickstart.lua
small=(--set batch.tokens=512 --set global_batch=4 --set steps=6
    --set schedule.warmup=1 --set device=cpu)
bad=0

# ok ARGUMENTS...: hone does it, or the test fails with what it said.
ok() {
    "$hone" "$@" >"$work/log" 2>&1 || { cat "$work/log"; bad=1; }
}

# run NAME SETTINGS...
run() {
    local name=$1
    shift
    ok run "$recipe" --out "$work/$name" "${small[@]}" "$@"
}

# refused STATUS PATTERN ARGUMENTS...
refused() {
    local status=$1 pattern=$2 code
    shift 2
    "$hone" "$@" >"$work/log" 2>&1
    code=$?
    grep -q -e "$pattern" "$work/log" && [ $code = "$status" ] && return
    echo "exit $code, and no \"$pattern\" in:"
    cat "$work/log"
    bad=1
}

ok export "$source/datasets/tiny" --to nf4 --out "$work/quantised"
ok export "$work/quantised" --to merged --out "$work/plain"
ok export "$work/quantised" --to nf4 --out "$work/again"
cmp "$work/quantised/model.safetensors" "$work/again/model.safetensors" || bad=1
grep -q quantization_config "$work/plain/config.json" && bad=1

run nf4 --set model.storage=nf4
run of-files --set model.path="$work/quantised"
run as-plain --set model.path="$work/plain" --set model.storage=fp32
run dequantised --set model.path="$work/quantised" --set model.storage=fp32
run flat --set model.storage=nf4 --set model.nested=false
run fp32 --set model.storage=fp32
run random --set model.storage=nf4 --set model.init=random

# Interrupted in the middle by its own budget of steps, and gone on with.
"$hone" run "$recipe" --out "$work/resumed" "${small[@]}" --set save.every=2 \
    --set model.storage=nf4 >"$work/log" 2>&1 || { cat "$work/log"; bad=1; }
sed -i 's/"finished"/"training"/' "$work/resumed/run.json"
rm -rf "$work/resumed/checkpoints/step-00000006" "$work/resumed/adapter"
"$hone" run "$recipe" --out "$work/resumed" "${small[@]}" --set save.every=2 \
    --set model.storage=nf4 >"$work/log" 2>&1 || { cat "$work/log"; bad=1; }
grep -q "going on after step 4" "$work/log" || { cat "$work/log"; bad=1; }
cmp "$work/nf4/adapter/adapter_model.safetensors" \
    "$work/resumed/adapter/adapter_model.safetensors" || bad=1

ok plan "$recipe" "${small[@]}" --set model.storage=nf4 --json
grep '{' "$work/log" >"$work/plan.json"
ok eval "$recipe" "${small[@]}" --set model.storage=nf4 --run "$work/nf4" --json
grep '{' "$work/log" >"$work/eval-nf4.json"
ok export "$work/nf4" --to merged --out "$work/merged"
ok export "$work/nf4" --to peft --out "$work/peft"
cmp "$work/nf4/adapter/adapter_model.safetensors" \
    "$work/peft/adapter_model.safetensors" || bad=1
ok eval "$recipe" "${small[@]}" --set model.path="$work/merged" --json
grep '{' "$work/log" >"$work/eval-merged.json"
ok generate "$work/quantised" --adapter "$work/nf4/adapter" --device cpu \
    --prompt "Once" --max-tokens 4

refused 2 "'nested' belongs to storage = \"nf4\"" check "$recipe" \
    --set model.nested=false
sed '/adapter/d' "$recipe" >"$work/full.lua"
ln -s "$source/datasets" "$work/datasets"
mkdir "$work/recipes"
mv "$work/full.lua" "$work/recipes/"
refused 2 "is quantised in the files: it can be adapted" run \
    "$work/recipes/full.lua" --out "$work/full" "${small[@]}" \
    --set model.path="$work/quantised"

python3 - "$work" <<'P' || bad=1
import json
import pathlib
import sys

work = pathlib.Path(sys.argv[1])


def losses(name):
    rows = [json.loads(line) for line in open(work / name / "metrics.jsonl")]
    return [row["loss"] for row in rows if "loss" in row]


def off(a, b):
    a, b = losses(a), losses(b)
    assert len(a) == len(b) == 6, (a, b)
    return max(abs(x - y) / x for x, y in zip(a, b))


# The same numbers in the same order: not even rounding differs.
for other in ("of-files", "as-plain", "dequantised"):
    assert off("nf4", other) == 0, (other, losses("nf4"), losses(other))
assert 0 < off("nf4", "flat") < 0.02, (losses("nf4"), losses("flat"))
assert 0 < off("nf4", "fp32") < 0.2, (losses("nf4"), losses("fp32"))

# Embeddings and norms as in the file; of 28 linears 786,432 codes, a scale for
# 64 of them, one for 256 of those, and a mean; each part begins at 256 bytes,
# which the scales of k and v fill by half.
plan = json.loads((work / "plan.json").read_text())
held = plan["host_bytes"]["phases"]["train"]["weights"]
assert held == 4 * (1024 * 128 + 9 * 128) + 786432 // 2 + 786432 // 64 \
    + 8 * 128 + 28 * 2 * 256, held

a = json.loads((work / "eval-nf4.json").read_text())["loss"]
b = json.loads((work / "eval-merged.json").read_text())["loss"]
assert abs(a - b) < 2e-6 * a, (a, b)
P
exit $bad
