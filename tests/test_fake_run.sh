#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Training on the device `fake` gives the bits of the CPU: its addresses fault
# when the host touches them, its streams are threads that only events order,
# its programs are captured and replayed, nothing is allocated after step 0.
# With layers recomputed and sent out, and with streams that are late.
#
# test_fake_run.sh BUILD RECIPE ARGUMENTS... does the same for one's own recipe.
set -u
hone=$1/bin/hone
fake=(--plugin-dir "$1/tests/plugins" --set device=fake)
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HONE_CACHE=$work/cache OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive
bad=0

# losses DIR: what a run learned, without the times
losses() {
    grep -oE '"(step|loss|grad_norm|lr|eval_loss)": [^,}]*' "$1/metrics.jsonl"
}

# train DIR RECIPE ARGUMENTS...
train() {
    local out=$1 recipe=$2
    shift 2
    "$hone" run "$recipe" --out "$out" "$@" 2> "$out.log" ||
        { echo "$out: failed"; cat "$out.log"; bad=1; }
}

# same NAME DIR DIR: the same losses and the same results, byte for byte
same() {
    local file
    diff <(losses "$2") <(losses "$3") ||
        { echo "$1: the losses differ"; bad=1; }
    for file in "$2"/*/*.safetensors; do
        cmp "$file" "$3/${file#"$2"/}" ||
            { echo "$1: the results differ"; bad=1; }
    done
}

# compare NAME RECIPE ARGUMENTS...
compare() {
    local at=$work/$1 name=$1 recipe=$2
    shift 2
    train "$at.cpu" "$recipe" "$@"
    train "$at.fake" "$recipe" "$@" "${fake[@]}"
    same "$name" "$at.cpu" "$at.fake"
    HONE_FAKE_JITTER=3 train "$at.late" "$recipe" "$@" "${fake[@]}"
    same "$name, late" "$at.cpu" "$at.late"
    rm -rf "$at".*
}

if [ $# -gt 1 ]; then
    unset HONE_CACHE
    compare own "${@:2}"
    exit $bad
fi
python3 "$here/tiny_run.py" "$work/tiny" || exit 1
for recipe in full lora; do
    for keep in all none offload; do
        compare "$recipe-$keep" "$work/tiny/$recipe.lua" --set keep=$keep
    done
done

# What was learned is read back alike by both.
train "$work/run" "$work/tiny/full.lua"
for device in cpu fake; do
    "$hone" eval "$work/tiny/full.lua" --run "$work/run" --json \
        "${fake[@]:0:2}" --set device=$device 2>> "$work/log"
    "$hone" generate "$work/run/model" --prompt "the cat" --max-tokens 40 \
        "${fake[@]:0:2}" --device $device 2>> "$work/log"
    echo
done > "$work/answers"
if ! [ -s "$work/answers" ] || ! diff <(sed -n '1,/^$/p' "$work/answers") \
    <(sed '1,/^$/d' "$work/answers"); then
    echo "eval or generate differ"
    cat "$work/log" "$work/answers"
    bad=1
fi

if [ -z "${HONE_TEST_DATA:-}" ]; then
    echo "HONE_TEST_DATA is not set: without the run of stories260K"
    exit $bad
fi
cat > "$work/a.lua" <<LUA
local hone = require "hone"
local from = "$HONE_TEST_DATA"
return hone.train {
  model = hone.model(from .. "/weights/stories260K-hf"),
  data = hone.data.alpaca {
    from .. "/instruct/alpaca_fmt/gsm8k_train_alpaca.json",
    val = 16, max_tokens = 256 },
  batch = hone.pad { rows = 4 }, global_batch = 8, steps = 3,
  optimizer = hone.adamw { lr = 1e-3 }, schedule = hone.constant {},
  out = "out",
}
LUA
compare stories260K-offload "$work/a.lua" --set keep=offload
compare stories260K "$work/a.lua"
exit $bad
