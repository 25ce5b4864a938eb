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

# same FILE FILE: but for what was free just then, and what a run does not look
# for: the runners-up.
same() {
    local cut='s/"memory": [0-9]*, //; s/, "runners_up": \[[^]]*\]//'
    cmp <(sed "$cut" "$1") <(sed "$cut" "$2") ||
        { echo "the plans differ:"; cat "$1" "$2"; bad=1; }
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

# A card stands for a device that is not here: the plan is that of the run, and
# nothing of the device is asked. Its own figures are in the cache, by its name.
card=$work/cache/cards/fake.json
mkdir -p "$work/cache/cards"
cat > "$card" <<'JSON'
{ "name": "fake", "device": "fake", "models": ["fake"],
  "memory_bytes": 17179869184, "context_bytes": 123456789, "launch_s": 1e-6,
  "to_device": 1e10, "to_host": 1e10, "both_ways": 8e9, "disk": 1e9,
  "attention": 0.5, "attention_grad": 0.4, "copy": 1e11,
  "fp32": [[1e6, 1e11], [1e9, 1e12]], "measured": ["copy", "fp32"] }
JSON
export OMP_NUM_THREADS=1 # a card knows no threads of the host
for recipe in full lora; do
    for how in "" "--set keep=offload"; do
        # shellcheck disable=SC2086
        "$hone" run "$work/tiny/$recipe.lua" "${fake[@]}" $how --fresh \
            --out "$work/run" 2> "$work/log" || { cat "$work/log"; bad=1; }
        # shellcheck disable=SC2086
        plan "$work/first" "$work/tiny/$recipe.lua" "${fake[@]}" $how \
            --card "$card"
        same "$work/first" "$work/run/plan.json"
    done
done
# It is not opened: here there is none.
plan "$work/second" "$work/tiny/lora.lua" "${fake[@]}" --set keep=offload \
    --card fake
HONE_FAKE_GONE=1 "$hone" plan "$work/tiny/lora.lua" "${fake[@]}" --json \
    --set keep=offload --card fake > "$work/first" 2> "$work/log" ||
    { cat "$work/log"; bad=1; }
same "$work/first" "$work/second"
python3 - "$hone" "$work/tiny/lora.lua" "$1/tests/plugins" <<'PY' || bad=1
import json, subprocess, sys
hone, recipe, plugins = sys.argv[1:]
fake = ["--plugin-dir", plugins, "--set", "device=fake"]

def plan(status, *args):
    out = subprocess.run([hone, "plan", recipe, *args], text=True,
                         capture_output=True)
    if out.returncode != status:
        sys.exit(f"{args}: {out.returncode}: {out.stderr}")
    return out

def read(*args):
    return json.loads(plan(0, "--json", *args).stdout)

p = read(*fake, "--card", "fake", "--price", "3")
for place in ("device_bytes", "pinned_bytes", "host_bytes", "disk_bytes"):
    phases = p[place]["phases"].values()
    for phase in phases:
        assert phase["total"] == sum(phase.values()) - phase["total"], p
    assert p[place]["total"] == max(f["total"] for f in phases), p
# The card's context, and the maps of what is pinned.
assert all(f["context"] == 123456789 +
           p["pinned_bytes"]["phases"][name]["total"] // 512
           for name, f in p["device_bytes"]["phases"].items())
s = p["seconds"]
assert p["seconds_per_step"] > 1e-4 and p["card"]["name"] == "fake"
assert abs(s["train"] / p["steps"] / p["seconds_per_step"] - 1) < 1e-3
assert abs(s["total"] / (s["load"] + s["train"] + s["eval"] + s["save"]) - 1
           ) < 1e-3
assert abs(p["cost"] / (3 * s["total"] / 3600) - 1) < 1e-3
assert "cost" not in read(*fake, "--card", "fake")
# What is recomputed or sent out takes longer, and less memory.
most = lambda p: p["device_bytes"]["phases"]["train"]["activations"]
none = read(*fake, "--card", "fake", "--set", "keep=none")
assert most(none) < most(p)
assert none["seconds_per_step"] > p["seconds_per_step"]
out = read(*fake, "--card", "fake", "--set", "keep=offload")
assert out["pinned_bytes"]["phases"]["train"]["activations"] > 0
# What does not fit: exit 3, with the plan all the same.
out = plan(3, "--json", *fake, "--card", "fake", "--set", "memory=118MiB")
assert json.loads(out.stdout)["device_bytes"]["total"] > 118 << 20
assert "the recipe allows 118.00 MiB" in out.stderr, out.stderr
plan(0, *fake, "--card", "fake", "--set", "memory=16GiB")
# What cannot be: a card of another device, one that is not there.
assert "says device = \"fake\"" in plan(2, *fake, "--card", "t4").stderr
assert "there are:" in plan(2, "--card", "h300").stderr
text = plan(0, *fake, "--card", "fake", "--price", "2").stdout
for word in ("context", "step    ", "run     ", "cost    ", "(measured)"):
    assert word in text, text
text = plan(0, "--card", "list").stdout
assert "rtx-4090" in text and "h100-80gb" in text, text
PY
# With the pack for NVIDIA cards, on a machine that need have none.
if "$hone" plugins | grep -q '^  pack  *cuda '; then
    for c in t4 rtx-3060 h100-80gb; do
        plan "$work/first" "$work/tiny/lora.lua" --card $c
        grep -q '"device": "cuda".*"seconds_per_step": [0-9]' "$work/first" ||
            { echo "$c: no times"; cat "$work/first"; bad=1; }
    done
else
    echo "skipped: no pack for CUDA cards in this build"
fi
unset OMP_NUM_THREADS

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
