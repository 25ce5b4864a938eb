#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A plan is a pure function: the first call, which prepares the data, later
# ones, and the run that follows say the same, for every device. (That it is
# also what the arenas hold, each run checks itself before step 0.) And it
# reads no weights: here they are a file of 3 GiB that is one long hole.
set -u
hone=$1/bin/hone
fake=(--plugin-dir "$1/tests/plugins" --set device=fake)
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HONE_CACHE=$work/cache
bad=0

# plan TO ARGUMENTS...
plan() {
    local to=$1
    shift
    "$hone" plan "$@" --json > "$to" 2> "$work/log" ||
        { cat "$work/log"; bad=1; }
}

# same FILE FILE
same() {
    cmp "$1" "$2" || { echo "the plans differ:"; cat "$1" "$2"; bad=1; }
}

python3 "$here/tiny_run.py" "$work/tiny" || exit 1
for recipe in full lora; do
    for how in "" "${fake[*]}" "--set keep=none" "--set keep=offload"; do
        rm -rf "$work/cache"
        for call in first second; do
            # shellcheck disable=SC2086
            plan "$work/$call" "$work/tiny/$recipe.lua" $how
        done
        same "$work/first" "$work/second"
        # shellcheck disable=SC2086
        "$hone" run "$work/tiny/$recipe.lua" $how --out "$work/run" --fresh \
            2> "$work/log" || { cat "$work/log"; bad=1; }
        same "$work/first" "$work/run/plan.json"
    done
done

python3 - "$work/tiny/model" <<'PY' || exit 1
import json, os, struct, sys
folder = sys.argv[1]
config = json.load(open(folder + "/config.json"))
config.update(hidden_size=1024, intermediate_size=60000, num_hidden_layers=4)
h, i, v = 1024, 60000, config["vocab_size"]
json.dump(config, open(folder + "/config.json", "w"))
shapes = {"model.embed_tokens.weight": [v, h], "model.norm.weight": [h]}
for n in range(4):
    p = f"model.layers.{n}."
    shapes.update({
        p + "input_layernorm.weight": [h],
        p + "post_attention_layernorm.weight": [h],
        p + "self_attn.q_proj.weight": [h, h],
        p + "self_attn.k_proj.weight": [h // 2, h],
        p + "self_attn.v_proj.weight": [h // 2, h],
        p + "self_attn.o_proj.weight": [h, h],
        p + "mlp.gate_proj.weight": [i, h], p + "mlp.up_proj.weight": [i, h],
        p + "mlp.down_proj.weight": [h, i]})
header, at = {}, 0
for name, shape in shapes.items():
    n = 4
    for d in shape:
        n *= d
    header[name] = dict(dtype="F32", shape=shape, data_offsets=[at, at + n])
    at += n
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(folder + "/model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text)
    f.truncate(8 + len(text) + at)
PY
sed 's/, init = "random"//' "$work/tiny/lora.lua" > "$work/tiny/big.lua"
python3 - "$hone" "$work/tiny/big.lua" <<'PY' || bad=1
import json, resource, subprocess, sys
out = subprocess.run([sys.argv[1], "plan", sys.argv[2], "--json"],
                     capture_output=True, text=True)
if out.returncode:
    sys.exit(out.stderr)
weights = json.loads(out.stdout)["host_bytes"]["phases"]["load"]["weights"]
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
if weights < 2 << 30 or most > 512 << 20:
    sys.exit(f"weights of {weights} bytes; plan took {most}")
PY
exit $bad
