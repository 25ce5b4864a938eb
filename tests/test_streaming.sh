#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Weights of layers in host memory: on the device `fake`, whose copies are late
# and whose addresses fault where they are not meant, and on the CPU a run learns
# the same bits as with all weights on the device, of plain numbers and of
# codes, read from files and made; the plan has the bytes in pinned memory instead, and a
# run that does not fit otherwise takes as many layers as it must. What the host
# cannot hold is refused.
set -u
hone=$1/bin/hone
source=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HONE_CACHE=$work/cache OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive
export HONE_FAKE_JITTER=3
fake=(--plugin-dir "$1/tests/plugins" --set device=fake)
bad=0

fail() {
    echo "$*"
    bad=1
}

# train DIR RECIPE ARGUMENTS...
train() {
    local out=$1 recipe=$2
    shift 2
    "$hone" run "$recipe" --out "$out" "${fake[@]}" "$@" 2> "$out.log" ||
        { fail "$out: failed"; cat "$out.log"; }
}

# same NAME DIR DIR
same() {
    cmp "$2/adapter/adapter_model.safetensors" \
        "$3/adapter/adapter_model.safetensors" || fail "$1: other results"
}

# has DIR EXPRESSION: of its plan p, the means m, and bytes of training
has() {
    python3 - "$1/plan.json" "$2" <<'P' || fail "$1: not so: $2"
import json
import sys

p = json.load(open(sys.argv[1]))
m = p["means"]
device, pinned = (p[place]["phases"]["train"]
                  for place in ("device_bytes", "pinned_bytes"))
sys.exit(not eval(sys.argv[2]))
P
}

python3 "$source/tests/tiny_run.py" "$work/tiny" || exit 1
lora=$work/tiny/lora.lua
layer=$(((2 * 32 * 32 + 2 * 16 * 32 + 3 * 80 * 32) * 4)) # bytes of matrices
train "$work/none" "$lora" --set keep=none --set model.host_layers=0
hows="all:1 light:2 offload:2 offload:3 none:9"
[ "${HONE_TEST_DRAWS:-}" = few ] && hows="offload:2 none:9"
for how in $hows; do
    count=${how#*:}
    rm -rf "$work/now"
    train "$work/now" "$lora" --set keep=${how%:*} \
        --set model.host_layers=$count
    same "$how layers" "$work/none" "$work/now"
    n=$((count < 3 ? count : 3))
    has "$work/now" "m['host_layers'] == $n and \
pinned['weights'] == $n * $layer"
done
resident=$(python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["device_bytes"]["total"])' \
    "$work/none/plan.json")
has "$work/now" "device['total'] < $resident"

# Codes with scales, made at random; numbers of a file.
for how in storage=nf4 "storage=nf4 --set model.nested=false"; do
    for count in 0 2; do
        train "$work/nf4.$count" "$lora" --set device=cpu --set model.$how \
            --set model.host_layers=$count
    done
    same "$how" "$work/nf4.0" "$work/nf4.2"
    rm -rf "$work"/nf4.*
done
for count in 0 2; do
    train "$work/file.$count" "$source/recipes/quickstart.lua" \
        --set batch.tokens=512 --set global_batch=4 --set steps=2 \
        --set schedule.warmup=1 --set model.host_layers=$count
done
same "weights of a file" "$work/file.0" "$work/file.2"

# By itself, where only that can save memory.
rest=(--set keep=offload --set logits_chunk=64 --set batch.tokens=512)
plan() {
    "$hone" plan "$lora" "${fake[@]}" "${rest[@]}" --set memory=$1 \
        --set model.host_layers=$2 > "$work/log" 2>&1
}
plan 1KiB 0
least=$(sed -n 's/.* needs \([0-9.]*\) MiB of memory at the least.*/\1/p' \
    "$work/log")
budget=$(awk "BEGIN { print int($least * 1024 - 30) }")KiB
plan $budget 0
[ $? = 3 ] || { fail "it fits in $budget without that"; cat "$work/log"; }
grep -q "model.host_layers = -1" "$work/log" || fail "it is not offered"
train "$work/whole" "$lora" "${rest[@]}"
train "$work/auto" "$lora" "${rest[@]}" --set memory=$budget
has "$work/auto" "0 < m['host_layers'] <= 3 and pinned['weights'] > 0"
grep -q "weights of . layers in host memory" "$work/auto.log" ||
    fail "it is not said"
same "made to fit" "$work/whole" "$work/auto"

# Gone on with: as it was begun, whatever is free by then.
"$hone" run "$lora" "${fake[@]}" "${rest[@]}" --set memory=$budget \
    --set steps=60 --out "$work/stopped" 2> "$work/log" &
until grep -q '"step": 4,' "$work/stopped/metrics.jsonl" 2> "$work/none.log" ||
    ! kill -0 $! 2> "$work/none.log"; do
    sleep 0.01
done
kill -INT $!
wait $!
[ $? = 130 ] || { fail "not interrupted"; cat "$work/log"; }
train "$work/stopped" "$lora" "${rest[@]}" --set steps=60
has "$work/stopped" "0 < m['host_layers'] <= 3"

# Nothing is frozen; and a host that is too small.
"$hone" check "$work/tiny/full.lua" --set model.host_layers=2 \
    2> "$work/log" && fail "host_layers without an adapter"
grep -q "host_layers.*adapter" "$work/log" || cat "$work/log"
if ! "$hone" plugins 2> "$work/log" | grep -q '\bcuda\b'; then
    echo "pack cuda is not built: without a host that is too small"
    exit $bad
fi
card() { # HOST_BYTES
    sed "0,/{/s//{ \"host_bytes\": $1,/" \
        "$source/recipes/cards/l4.json" > "$work/l4.json"
}
plan() { # COUNT
    "$hone" plan "$lora" --card "$work/l4.json" --set device=cuda --json \
        --set model.host_layers=$1 2> "$work/log"
}
card 1000000000
card $(($(plan 0 | python3 -c 'import json, sys
p = json.load(sys.stdin)
host, pinned = p["host_bytes"]["phases"], p["pinned_bytes"]["phases"]
print(max(host[k]["total"] + pinned[k]["total"] for k in host))') + 65536))
plan 0 > "$work/json" || { fail "the host holds that"; cat "$work/log"; }
plan 3 > "$work/json"
[ $? = 3 ] && grep -q "host memory, .* of that pinned" "$work/log" ||
    { fail "the host's memory is not counted"; cat "$work/log"; }
exit $bad
