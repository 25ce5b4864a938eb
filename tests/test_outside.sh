#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Plugins by strangers: those of tests/outside are built in a folder that knows
# only an installed hone, are held to their references, and train: an op in a
# family of its own, an optimizer, and a fused op that hone finds by pattern.
set -euo pipefail
build=$(realpath "$1")
source=$(realpath "$(dirname "$0")")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
umask 022

cmake --install "$build" --prefix "$scratch/hone" > "$scratch/log"
cp -r "$source/outside" "$scratch/outside"
python3 "$source/tiny_run.py" "$scratch/tiny"

# From here on nothing of the source or the build is named.
cd "$scratch/outside"
stranger() {
    env -i PATH="$scratch/hone/bin:$PATH" HOME="$scratch" CFLAGS=-Werror \
        PKG_CONFIG_PATH="$scratch/hone/lib/pkgconfig" \
        HONE_CACHE="$scratch/cache" OMP_WAIT_POLICY=passive "$@"
}
stranger make -sC gate
stranger make -sC gate install
stranger make -sC adagrad
stranger cmake -S swiglu_linear -B swiglu_linear > "$scratch/log"
stranger cmake --build swiglu_linear > "$scratch/log"
mkdir plugins
mv adagrad/adagrad.so swiglu_linear/swiglu_linear.so plugins

fail() {
    echo "$*" >&2
    exit 1
}

# Found where they were put: among hone's own, by option, by variable.
stranger hone describe adagrad --plugin-dir plugins | grep -q '^adagrad'
stranger HONE_PLUGIN_PATH="$PWD/plugins" hone plugins > list
grep -q "^$PWD/plugins/swiglu_linear.so$" list
grep -q "^$scratch/hone/lib/hone/plugins/gate.so$" list
if grep refused list; then fail "a plugin was refused"; fi

# Their kernels do what their references say.
for pack in gate_cpu swiglu_linear_cpu; do
    stranger hone kernels check $pack --plugin-dir plugins > kernels
    grep -q "^mine.* ok$" kernels
done

# losses RUN: of the steps, one a line.
losses() {
    sed -nE 's/.*"loss": ([0-9.e+-]+).*/\1/p' "$1/metrics.jsonl"
}

# falls RUN: the last loss is clearly below the first.
falls() {
    losses "$1" | awk 'NR == 1 { first = $1 } { last = $1 }
        END { exit !(NR == 30 && last < 0.8 * first) }' ||
        fail "$1: the loss does not fall: $(losses "$1" | tr '\n' ' ')"
}

# The op, in a family that lies among hone's, and the optimizer with it.
cp -r ../tiny gated
sed -i 's/"llama"/"gated"/; s/"silu"/"mine.gate", "gate_beta": 2/' \
    gated/model/config.json
sed 's/hone.adamw.*},/hone.adagrad { lr = 0.05 },/; s/steps = 5/steps = 30/' \
    gated/full.lua > gated/adagrad.lua
grep -q adagrad gated/adagrad.lua
stranger hone run gated/adagrad.lua --plugin-dir plugins --out gated/run
falls gated/run
# On the reference where no pack has a kernel: the same to rounding.
stranger hone run gated/adagrad.lua --plugin-dir plugins --set packs=cpu \
    --out gated/plain

# The fused op, in hone's own llama: fewer activations, the same numbers.
run() {
    local name=$1
    shift
    stranger hone run ../tiny/full.lua --set steps=30 --out "$name" "$@"
}
activations() {
    python3 - "$1/plan.json" <<'PY'
import json, sys
phases = json.load(open(sys.argv[1]))["host_bytes"]["phases"]
print(phases["train"]["activations"])
PY
}
run unfused
run fused --plugin-dir plugins
run not-asked --plugin-dir plugins --set packs=cpu
falls fused
cmp <(losses unfused) <(losses not-asked)
# It sums in another order, and keeps no more than the ops it stands for.
cmp -s <(losses unfused) <(losses fused) && fail "the fused op was not taken"
[ "$(activations fused)" -le "$(activations unfused)" ] ||
    fail "the fused op keeps more"

# same A B: the first losses to fp32 rounding; later ones amplify it.
same() {
    paste <(losses "$1") <(losses "$2") | head -n 15 | awk '
        { off = ($1 - $2) / $1; off = off < 0 ? -off : off }
        off > worst { worst = off }
        END { print "off by " worst; exit !(NR == 15 && worst < 1e-6) }' ||
        fail "$1 and $2 differ"
}
same fused unfused
same gated/run gated/plain
