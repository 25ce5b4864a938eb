#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# memory.sh BUILD RECIPE ARGUMENTS...: the peak of a run's anonymous memory
# (file pages excluded) beside what its plan says. What the program itself
# takes (libraries, thread stacks, BLAS buffers) is what a run of a tiny model
# has beyond its own plan; it is taken off.
set -eu
hone=$1/bin/hone
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
shift

# peak RECIPE ARGUMENTS...: "planned peak", in bytes
peak() {
    local most=0 now pid
    rm -rf "$work/run"
    "$hone" run "$@" --out "$work/run" 2> "$work/log" &
    pid=$!
    while now=$(awk '/^RssAnon/ { print $2 * 1024 }' "/proc/$pid/status" \
                2> /dev/null) && [ -n "$now" ]; do
        ((now > most)) && most=$now
        sleep 0.02
    done
    wait $pid || { cat "$work/log" >&2; exit 1; }
    python3 - "$work/run/plan.json" "$most" <<'PY'
import json, sys
print(json.load(open(sys.argv[1]))["host_bytes"]["total"], sys.argv[2])
PY
}

python3 "$here/tiny_run.py" "$work/tiny"
# Data are prepared first, by a process of their own.
HONE_CACHE=$work/cache "$hone" plan "$work/tiny/full.lua" > /dev/null 2>&1
read -r planned most < <(HONE_CACHE=$work/cache peak "$work/tiny/full.lua")
beyond=$((most - planned))
echo "tiny model: planned $planned, peak $most, beyond its plan $beyond"
"$hone" plan "$@" > /dev/null 2>&1
read -r planned most < <(peak "$@")
echo "$1: planned $planned, peak $most, less the program $((most - beyond))"
python3 - "$planned" $((most - beyond)) <<'PY'
import sys
planned, peak = map(int, sys.argv[1:])
off = peak / planned - 1
print(f"{100 * off:+.2f} % of the plan")
sys.exit(abs(off) > 0.05)
PY
