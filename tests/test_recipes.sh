#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every file in recipes/ passes hone check: with the bundled model and data in
# the place of those it names where these are not here, and, where
# $HONE_TEST_DATA is, with rows that people really train on. The one that
# starts from nothing learns.
set -euo pipefail
build=$(realpath "$1")
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset HONE_PLUGIN_PATH HONE_SHARE
export HONE_CACHE=$scratch/cache
hone=$build/bin/hone

check() {
    "$hone" check "$@" > "$scratch/out" 2> "$scratch/err" ||
        { echo "hone check $*:" >&2; cat "$scratch/err" >&2; exit 1; }
    grep -q "everything it names is there" "$scratch/out"
}

rows=${HONE_TEST_DATA:+$HONE_TEST_DATA/instruct/alpaca_fmt}
rows=${rows:+$rows/gsm8k_train_alpaca.json}
count=0
for recipe in recipes/*.lua; do
    [ "$recipe" != recipes/names.lua ] || continue
    set -- "$recipe"
    if ! grep -q datasets/tiny "$recipe"; then
        set -- "$@" --set model.path=datasets/tiny \
            --set data.path=datasets/tiny_instruct.jsonl \
            --set data.max_tokens=512
        [ -z "$rows" ] || check "$@" --set data.path="$rows"
    fi
    check "$@"
    # What a recipe's head says to type names files that are there.
    sed -n 's/^--   hone [a-z]* *\(recipes\/[^ ]*\).*/\1/p' "$recipe" |
        while read -r named; do
            [ -f "$named" ] || { echo "$recipe: no $named" >&2; exit 1; }
        done
    count=$((count + 1))
done
[ "$count" -ge 5 ]
[ -n "$rows" ] ||
    echo "HONE_TEST_DATA is not set: checked with the bundled rows alone"

"$hone" run recipes/pretrain-tiny.lua --out "$scratch/run" --set steps=30 \
    --set schedule.warmup=5 --set global_batch=8 --set data.val=20 \
    2> "$scratch/log" || { cat "$scratch/log" >&2; exit 1; }
python3 - "$scratch/run/metrics.jsonl" <<'PY'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
losses = [row["eval_loss"] for row in rows if "eval_loss" in row]
assert losses[0] > 6.5 and losses[-1] < losses[0] - 1.5, losses
PY
