#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hone doctor says what a machine has, and measures its device into a card,
# within a bound, that plans are then made with.
set -u
hone=$1/bin/hone
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HONE_CACHE=$work/cache OMP_WAIT_POLICY=passive
bad=0

"$hone" doctor > "$work/said" || bad=1
for word in "cpu  " "memory  " "cache  " "driver  " "device   cpu:0: CPU" \
    "pack     cpu"; do
    grep -q "^$word" "$work/said" || { echo "no '$word'"; bad=1; }
done
"$hone" doctor --device cpu --card "$work/cards/here.json" > "$work/said" \
    2> "$work/log" || { cat "$work/log"; bad=1; }
python3 "$here/tiny_run.py" "$work/tiny" || exit 1
python3 - "$hone" "$work" <<'PY' || bad=1
import json, os, shutil, subprocess, sys
hone, work = sys.argv[1:]
card = json.load(open(work + "/cards/here.json"))
for key in ("memory_bytes", "host_bytes", "launch_s", "to_device", "to_host",
            "both_ways", "copy", "fp32"):
    assert key in card["measured"], (key, card)
assert card["device"] == "cpu" and card["models"] == ["CPU"]
assert 1e7 < card["copy"] < 1e13, card
assert 1e7 < card["fp32"][-1][1] < 1e15, card
assert 0 < card["launch_s"] < 0.1

def plan(*args):
    out = subprocess.run([hone, "plan", work + "/tiny/lora.lua", "--json",
                          "--set", "device=cpu", "--set", "memory=2GiB",
                          *args], text=True, capture_output=True)
    if out.returncode:
        sys.exit(out.stderr)
    return json.loads(out.stdout)

assert plan()["seconds_per_step"] is None  # nothing is known of this one
timed = plan("--card", work + "/cards/here.json")
assert timed["seconds_per_step"] > 0 and "context" not in json.dumps(timed)
os.makedirs(work + "/cache/cards", exist_ok=True)
shutil.copy(work + "/cards/here.json", work + "/cache/cards/CPU.json")
assert plan() == timed  # found in the cache
PY
grep -q '^copy ' "$work/said" || { cat "$work/said"; bad=1; }
"$hone" doctor --crad x 2> "$work/log" && bad=1
grep -q "did you mean '--card'" "$work/log" || bad=1
exit $bad
