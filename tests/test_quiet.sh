#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# From step 0 to the end of a run, evaluation and saving included, the process
# takes no memory: no malloc, no mmap, no brk, no thread (see quiet.c).
set -u
hone=$1/bin/hone
quiet=$(realpath "$1")/tests/quiet.so
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HONE_CACHE=$work/cache
want="quiet: malloc 0 calloc 0 realloc 0 aligned 0 mmap 0 brk 0 thread 0"
want+=" KiB 0"
bad=0

if [ ! -e "$quiet" ]; then
    echo "skipped: built with a sanitizer, which brings its own allocator"
    exit 0
fi

# expect NAME RECIPE ARGUMENTS...
expect() {
    local name=$1
    shift
    LD_PRELOAD=$quiet "$hone" run "$@" --out "$work/$name" 2> "$work/log"
    if ! grep -qx "$want" "$work/log"; then
        echo "$name:"
        cat "$work/log"
        bad=1
    fi
}

python3 "$here/tiny_run.py" "$work/tiny" || exit 1
for keep in all none offload away; do
    expect "full-$keep" "$work/tiny/full.lua" --set keep=$keep
    expect "lora-$keep" "$work/tiny/lora.lua" --set keep=$keep
done
OMP_NUM_THREADS=1 expect one-thread "$work/tiny/full.lua"
OMP_NUM_THREADS=3 expect three-threads "$work/tiny/lora.lua"

# The counter counts: it sees what a library does to start its threads.
cat > "$work/loud.py" <<'PY'
import os, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
kept = [bytes(5000) for _ in range(9)]
os.rename(__file__, os.path.dirname(__file__) + "/run.json")
PY
if LD_PRELOAD=$quiet python3 "$work/loud.py" 2>&1 | grep "malloc 0 "; then
    echo "quiet.so does not see malloc()"
    bad=1
fi
exit $bad
