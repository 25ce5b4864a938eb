#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Training on the device `fake` gives the bits of the CPU: its addresses fault
# when the host touches them, its streams are threads that only events order,
# its programs are captured and replayed, nothing is allocated after step 0.
# With layers recomputed and sent out, and with streams that are late. The host
# is a step ahead of the device: schedules that look at what was learned, an
# evaluation, a checkpoint, a signal and steps that are not finite show that it
# waits where it must.
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

# losses DIR: what a run learned, without the times, the norm to $digits of it
digits=12
losses() {
    grep -oE '"(step|loss|grad_norm|lr|eval_loss)": [^,}]*' "$1/metrics.jsonl" |
        sed -E "s/(\"grad_norm\": [0-9]+\.[0-9]{0,$digits})[0-9]*/\1/"
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
    if [ "${HONE_TEST_DRAWS:-}" != few ]; then # late shows more
        train "$at.fake" "$recipe" "$@" "${fake[@]}"
        same "$name" "$at.cpu" "$at.fake"
    fi
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
keeps="all light none offload away" masters="true false"
[ "${HONE_TEST_DRAWS:-}" = few ] && keeps="light away" masters="false"
for recipe in full lora; do
    for keep in $keeps; do
        compare "$recipe-$keep" "$work/tiny/$recipe.lua" --set keep=$keep
    done
    compare "$recipe-chunks" "$work/tiny/$recipe.lua" --set keep=away \
        --set mlp_chunk=16
done

compare dora "$work/tiny/lora.lua" --set keep=away --set states=host \
    --set adapter.dora=true --set adapter.lr_ratio=4

# States in host memory that one op updates and the next one reads.
sed "s/hone.adamw/hone.adafactor/" "$work/tiny/lora.lua" \
    > "$work/tiny/adafactor.lua"
compare adafactor "$work/tiny/adafactor.lua" --set states=host

# Updates within the backward pass, and states in host memory: the same bits,
# but for the norm, whose squares are added up layer by layer there.
digits=4
sed 's/rows = 2,/rows = 6,/; s/global_batch = 6,/global_batch = 6, clip = 0,/' \
    "$work/tiny/full.lua" > "$work/tiny/whole.lua"
for master in $masters; do
    whole=("$work/tiny/whole.lua" "${fake[@]}" --set master=$master)
    train "$work/after" "${whole[@]}"
    n=0
    for how in "update=backward" "states=host" "update=backward --set \
states=host" "update=backward --set states=host --set keep=offload"; do
        n=$((n + 1))
        HONE_FAKE_JITTER=3 train "$work/early.$n" "${whole[@]}" --set $how
        same "$how, master = $master" "$work/after" "$work/early.$n"
    done
    rm -rf "$work/after" "$work"/early.*
done
digits=12

# What looks at the steps before: the same rates.
sed 's/hone.cosine { warmup = 1 }/hone.backoff { ratio = 1.01, recover = 5 }/
     s/every = 2 }/every = 7 }, save = { every = 5 }/' \
    "$work/tiny/full.lua" > "$work/tiny/backoff.lua"
sed 's/hone.cosine { warmup = 1 }/hone.plateau { patience = 0 }/
     s/every = 2 }/every = 3 }, save = { every = 4 }/' \
    "$work/tiny/lora.lua" > "$work/tiny/plateau.lua"
compare backoff "$work/tiny/backoff.lua" --set steps=32
compare plateau "$work/tiny/plateau.lua" --set steps=14

# A signal: what was issued lands and is saved; the same command goes on.
train "$work/whole" "$work/tiny/backoff.lua" --set steps=40 "${fake[@]}"
"$hone" run "$work/tiny/backoff.lua" --set steps=40 "${fake[@]}" \
    --out "$work/stopped" 2> "$work/stopped.log" &
while kill -0 $! && ! grep '"step": 8,' "$work/stopped/metrics.jsonl"; do
    sleep 0.01
done > "$work/log" 2>&1
kill -INT $!
wait $!
status=$?
[ $status = 130 ] || { echo "interrupted: exit $status"; bad=1; }
train "$work/stopped" "$work/tiny/backoff.lua" --set steps=40 "${fake[@]}"
same interrupted "$work/whole" "$work/stopped"

# What the device chose by measuring: in the cache, and with the run.
for file in "$HONE_CACHE" "$work/stopped"; do
    grep -q '"fake: all": "one"' "$file/algorithms.json" ||
        { echo "$file: nothing is kept of what was chosen"; bad=1; }
done
sed 's/one/another/' "$work/stopped/algorithms.json" \
    > "$HONE_CACHE/algorithms.json"
HONE_FAKE_MOST=$work/most train "$work/later" "$work/tiny/full.lua" "${fake[@]}"
grep -q another "$work/later/algorithms.json" ||
    { echo "what an earlier run chose is not taken"; bad=1; }

# Until it is frozen nothing but what is planned was reserved, and graphs are
# planned wherever there are some: a run has more than 100 calls in them.
python3 - "$work/later/plan.json" "$work/most" <<'PY' || bad=1
import json
import sys
phases = json.load(open(sys.argv[1]))["device_bytes"]["phases"]
most, train = int(open(sys.argv[2]).read()), phases["train"]
graphs = train.get("graphs", 0)
if train["total"] != most + graphs:
    sys.exit(f"at most {most} bytes were reserved, planned: {train}")
if graphs < 100 * 16 or graphs % 16 or "graphs" in phases["load"]:
    sys.exit(f"graphs are not planned: {phases}")
PY

# Steps that are not finite are counted and named, a step later or at once:
# with weights that are infinite.
cp -r "$work/tiny" "$work/wild"
sed -i 's/{/{"initializer_range": 1e39, /' "$work/wild/model/config.json"
for device in cpu fake; do
    HONE_FAKE_JITTER=5 "$hone" run "$work/wild/full.lua" "${fake[@]:0:2}" \
        --set device=$device --set steps=20 \
        --out "$work/wild.$device" 2> "$work/wild.$device.log"
    echo "exit $?" >> "$work/wild.$device.log"
    grep -E "not updated|not finite|^exit" "$work/wild.$device.log" \
        > "$work/wild.$device.said"
done
if [ "$(grep -c "not updated" "$work/wild.cpu.said")" != 5 ] ||
    ! diff "$work/wild.cpu.said" "$work/wild.fake.said" ||
    ! diff <(losses "$work/wild.cpu") <(losses "$work/wild.fake"); then
    echo "not finite: the devices differ"
    cat "$work/wild".*.log
    bad=1
fi

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
