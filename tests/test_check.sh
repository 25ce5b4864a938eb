#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hone check from the command line: where messages go, exit statuses, and what
# is looked for in the model and data that a recipe names.
set -euo pipefail
build=$(realpath "$1")
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset HONE_PLUGIN_PATH HONE_SHARE
hone=$build/bin/hone

# expect STATUS TEXT ARGS...: the exit status, and TEXT on stderr.
expect() {
    local status=0 want=$1 text=$2
    shift 2
    "$hone" "$@" > "$scratch/out" 2> "$scratch/err" || status=$?
    if [ "$status" != "$want" ] ||
        { [ "$text" ] && ! grep -qF -- "$text" "$scratch/err"; }; then
        echo "hone $*: status $status, not $want, or no '$text' in:" >&2
        cat "$scratch/err" >&2
        exit 1
    fi
}

expect 2 "usage: hone check RECIPE" check
expect 2 "recipes/nobody.lua: No such file or directory" check \
    recipes/nobody.lua
expect 2 "recipes/bad/constructor.lua:7: hone.adam: no such constructor" \
    check recipes/bad/constructor.lua
[ ! -s "$scratch/out" ] # stdout is for results
expect 2 "unknown option '--sett', did you mean '--set'?" \
    check recipes/good/plain.lua --sett steps=1
expect 2 "plain.lua:4: hone.model: $PWD/recipes/good/model" \
    check recipes/good/plain.lua
expect 2 "plain.lua:5: hone.data.alpaca: $PWD/recipes/good/rows.json" \
    check recipes/good/plain.lua

# Every verb says how it is used, those of plugins too, and survives an option
# that it does not know.
expect 0 "" --help
sed -n 's/^  hone \([a-z]*\) .*/\1/p' "$scratch/out" > "$scratch/verbs"
[ "$(wc -l < "$scratch/verbs")" -ge 13 ]
grep -qx fetch "$scratch/verbs"
while read -r verb; do
    expect 0 "" "$verb" --help
    grep -q "^usage: hone $verb" "$scratch/out"
    [ "$verb" = fetch ] || expect 2 "unknown option '--promt'" "$verb" --promt x
done < "$scratch/verbs"
expect 0 "" generate --help
for option in prompt chat temperature seed; do
    grep -q -e "--$option" "$scratch/out"
done
expect 2 "unknown option '--promt', did you mean '--prompt'?" \
    generate --promt x model
for verb in generate tokenize export; do
    expect 2 "" "$verb"
done

# A refused plugin is a warning, listed, and no error where it is not needed.
expect 0 "warning: $build/tests/abi/abi_no_ops.so: 'right' has no ops" \
    plugins --plugin-dir "$build/tests/abi"
grep -q "refused: 'right' has no ops" "$scratch/out"

# Which line set an option.
explain() {
    expect 0 "" explain recipes/good/extended.lua "$@"
    cat "$scratch/out"
}
[ "$(explain optimizer.lr --set optimizer.lr=0.5)" = \
    $'optimizer.lr = 0.5\n    --set optimizer.lr=0.5' ]
[ "$(explain optimizer.beta1)" = $'optimizer.beta1 = 0.9\n    default' ]
[ "$(explain epochs)" = $'epochs = nil\n    default' ]
[ "$(explain global_batch)" = "global_batch = 4
    recipes/good/../good/plain.lua:3: hone.train" ]
[ "$(explain model.storage)" = "model.storage = \"fp32\"
    recipes/good/extended.lua:6: hone.model" ]
[ "$(explain adapter.r)" = "adapter.r = 8
    $PWD/recipes/good/adapter/adapter_config.json" ]
[ "$(explain steps)" = "steps = 5
    recipes/good/extended.lua:4: hone.extend" ]
[ "$(explain adapter | wc -l)" -ge 12 ] # all of its options
expect 0 "" explain recipes/good/full.lua # every kind of value
for line in 'keep = "0=none,1=offload,3=all"' 'data.val = 0.02' \
    "data.path = \"$PWD/recipes/good/a.json\", \"$PWD/recipes/b.jsonl\"" \
    'data.map = nil' 'memory = "1.5 GiB"' 'packs = "mine,cpu"'; do
    grep -qxF "$line" "$scratch/out"
done
expect 0 "" explain recipes/good/full.lua keep --set keep=none
grep -qx 'keep = "none"' "$scratch/out"
expect 0 "" explain recipes/good/full.lua data.val --set data.val=v.json
grep -qxF "data.val = \"$PWD/v.json\"" "$scratch/out"
# "x/.." is left out where x is a folder, not where it is a link.
out_of() {
    mkdir -p "$scratch/a/b" && ln -sfn a/b "$scratch/link"
    expect 0 "" explain recipes/good/full.lua out --set "out=$scratch/$1"
    grep -qxF "out = \"$scratch/$2\"" "$scratch/out"
}
out_of a/b/../../c c
out_of a//b/./../c/ a/c
out_of link/../c link/../c
out_of link/../../c link/../../c
out_of nothing/../c nothing/../c
expect 2 "no option 'optimiser.lr', did you mean 'optimizer.lr'?" \
    explain recipes/good/extended.lua optimiser.lr
expect 2 "recipes/bad/calls.lua:3: hone.model: 'path' is given twice" \
    explain recipes/bad/calls.lua
expect 2 "explain which RECIPE?" explain

mkdir "$scratch/model"
cat > "$scratch/model/tokenizer.json" <<'JSON'
{"version": "1.0", "truncation": null, "padding": null,
 "added_tokens": [{"id": 2, "content": "<end>", "single_word": false,
   "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
 "normalizer": null,
 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
   "trim_offsets": true, "use_regex": true},
 "post_processor": null,
 "decoder": {"type": "ByteLevel", "add_prefix_space": true,
   "trim_offsets": true, "use_regex": true},
 "model": {"type": "BPE", "dropout": null, "unk_token": null,
   "continuing_subword_prefix": null, "end_of_word_suffix": null,
   "fuse_unk": false, "byte_fallback": false,
   "vocab": {"a": 0, "b": 1}, "merges": []}}
JSON
echo '{"eos_token": "<end>"}' > "$scratch/model/tokenizer_config.json"
cat > "$scratch/model/config.json" <<'JSON'
{"model_type": "llama", "vocab_size": 49152, "hidden_size": 32,
 "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
 "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
 "hidden_act": "silu", "tie_word_embeddings": true,
 "max_position_embeddings": 64}
JSON
echo '[{"instruction": "a", "output": "b"}]' > "$scratch/rows.json"
echo '[{"instruction": "a", "answer": "b"}]' > "$scratch/other.json"
set -- check recipes/good/plain.lua --set "model.path=$scratch/model" \
    --set model.init=random
expect 0 "" "$@" --set "data.path=$scratch/rows.json"
grep -q "everything it names is there" "$scratch/out"
expect 2 "row 1: no field 'output'" "$@" --set "data.path=$scratch/other.json"
expect 0 "" "$@" --set "data.path=$scratch/other.json" \
    --set data.output=answer
sed -i 's/"llama"/"lama"/' "$scratch/model/config.json"
expect 2 "no family 'lama'" "$@" --set "data.path=$scratch/rows.json"

# A family of one's own: what it gets wrong is found before anything runs.
cp -r ../recipes "$scratch/share"
export HONE_SHARE=$scratch/share
expect 2 "there are: gemma, gemma2, gemma3_text, llama, mistral, phi3, qwen2" \
    "$@" --set "data.path=$scratch/rows.json"
# family O [LOGITS]
family() {
    cat > "$scratch/share/models/lama.lua" <<LUA
local decoder = require "lib.decoder"
local function build(g, c)
    local hidden, head = decoder.build(g, c, { $1 })
    return hidden, head, function(logits)
        return ${2:-logits}
    end
end
return { build = build }
LUA
}
set -- "$@" --set "data.path=$scratch/rows.json"
family ""
expect 0 "" "$@"
grep -qE "^model .* [0-9]+ tensors, 1.6 million parameters, random" \
    "$scratch/out"
family "head_nrom = true"
expect 2 "lama.lua:3: lib.decoder has no 'head_nrom'; there are: head_dim" "$@"
family 'act = "gelu"'
expect 2 "there is no op 'gelu', did you mean 'gelu_tanh'?" "$@"
family "" "(g:scale { logits, by = bu })"
expect 2 "lama.lua:5: 'bu' is not defined" "$@"
family "" 7
expect 2 "lama.lua: the function of the logits must return them" "$@"
family ""
sed -i 's/local hidden, head = \(.*\)$/do return \1 end local hidden, head/
    s/{  }/{ residul = 1 }/' "$scratch/share/models/lama.lua"
expect 2 "lama.lua: lib.decoder has no 'residul'" "$@" # a tail call: no line
family ""
sed -i 's/"hidden_size"/"new_factor": 2.5, &/' "$scratch/model/config.json"
expect 2 "'new_factor', here 2.5, may change the maths" "$@"
sed -i 's/"lama"/"gemma"/; s/"new_factor": 2.5, //' "$scratch/model/config.json"
sed -i 's/hidden_act }/hidden_act, softcp = 1 }/' \
    "$scratch/share/models/gemma.lua"
sed -i 's/"silu"/"gelu_pytorch_tanh"/' "$scratch/model/config.json"
expect 2 "gemma.lua: lib.decoder has no 'softcp'" "$@"
