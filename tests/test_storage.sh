#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Weights held as fp8: refused by name where nothing reads them, and with the
# pack `codes`, which does, planned to the byte, a run whose losses are those of
# fp32 weights to a few parts in a hundred, and an adapter like any other.
set -u
hone=$1/bin/hone
codes=(--plugin-dir "$1/tests/codes" --set packs=codes,cpu)
source=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HONE_CACHE=$work/cache
small=(--set batch.tokens=512 --set global_batch=4 --set steps=6
    --set schedule.warmup=1)
bad=0

# refused PATTERN ARGUMENTS...
refused() {
    local pattern=$1 code
    shift
    "$hone" plan "$source/recipes/quickstart.lua" "$@" > "$work/out" 2>&1
    code=$?
    grep -q -e "$pattern" "$work/out" && [ $code = 2 ] && return
    echo "exit $code, and no \"$pattern\" in:"
    cat "$work/out"
    bad=1
}

refused "quickstart.lua:[0-9]*: hone.model: 'storage': fp8 needs .*device cpu" \
    --set model.storage=fp8

# Linears read factors in codes; of the weights they are held twice, turned the
# second time. once: they are turned at each use instead.
for storage in fp32 fp8; do
    "$hone" run "$source/recipes/quickstart.lua" --out "$work/$storage" \
        "${codes[@]}" "${small[@]}" --set model.storage=$storage \
        > "$work/log" 2>&1 || { cat "$work/log"; bad=1; }
    "$hone" plan "$source/recipes/quickstart.lua" "${codes[@]}" "${small[@]}" \
        --set model.storage=$storage --json > "$work/$storage.json" || bad=1
done
"$hone" run "$source/recipes/quickstart.lua" --out "$work/once" \
    "${codes[@]}" "${small[@]}" --set model.storage=fp8 \
    --set model.copies=false > "$work/log" 2>&1 || { cat "$work/log"; bad=1; }
"$hone" plan "$source/recipes/quickstart.lua" "${codes[@]}" "${small[@]}" \
    --set model.storage=fp8 --set model.copies=false --json \
    > "$work/once.json" || bad=1
"$hone" eval "$source/recipes/quickstart.lua" "${codes[@]}" "${small[@]}" \
    --set model.storage=fp8 --run "$work/fp8" --json > "$work/eval.json" \
    2> "$work/log" || { cat "$work/log"; bad=1; }
python3 - "$work" <<'P' || bad=1
import json
import pathlib
import sys

work = pathlib.Path(sys.argv[1])


def losses(name):
    rows = [json.loads(line) for line in open(work / name / "metrics.jsonl")]
    return [row["loss"] for row in rows if "loss" in row]


last = open(work / "fp8" / "metrics.jsonl").readlines()[-1]
again = json.loads((work / "eval.json").read_text())
assert again["loss"] == json.loads(last)["eval_loss"], (again, last)


def held(name):
    plan = json.loads((work / f"{name}.json").read_text())
    return plan["host_bytes"]["phases"]["train"]["weights"]


# Embeddings and norms as in the file; of 28 linears a code a number and a scale
# a row, in whole lines of 256 bytes; turned, a scale a column, and nothing of
# the three that read the embeddings, which want no gradient.
rows = 2 * 512 + 2 * 256 + 2 * 1536 + 512
columns = 6 * 512 + 1536
once = 4 * (1024 * 128 + 9 * 128) + 786432 + 4 * rows
assert held("once") == once, held("once")
assert held("fp8") == once + 786432 + 4 * columns - 34304, \
    held("fp8")

a, b = losses("fp32"), losses("fp8")
assert losses("once") == b, (losses("once"), b)
assert len(a) == len(b) == 6, (a, b)
off = max(abs(x - y) / x for x, y in zip(a, b))
assert 0 < off < 0.1 and abs(sum(a) - sum(b)) < 0.02 * sum(a), (a, b)
P
exit $bad
