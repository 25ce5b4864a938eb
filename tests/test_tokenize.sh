#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hone tokenize: lines in, ids out and back, and what it says of broken input.
set -u
hone=$1/bin/hone
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

# expect NAME STATUS WANTED-OUTPUT ARGUMENTS... < input
expect() {
    local name=$1 status=$2 want=$3 got rc
    shift 3
    got=$("$hone" tokenize "$@" 2>"$work/err"; echo "rc $?")
    rc=${got##*rc }
    got=${got%rc *}
    got=${got%$'\n'}
    if [ "$rc" != "$status" ] || [ "$got" != "$want" ]; then
        printf '%s: status %s, output:\n%s\n' "$name" "$rc" "$got"
        cat "$work/err"
        bad=1
    fi
}

# Bytes without merges: an id is a byte's place in GPT-2's alphabet.
"$(command -v python3)" - "$here/tokenizer/cases.json" "$work/tokenizer.json" \
    <<'PY'
import json, sys
base = json.load(open(sys.argv[1]))["bases"]["pieces"]
base["model"]["merges"] = []
json.dump(base, open(sys.argv[2], "w"))
PY
t=$work/tokenizer.json
e=$(printf 'e' | "$hone" tokenize --no-special "$t")

s=${e/[/[1,}
printf 'e\n\ne' | expect "an empty line" 0 "$s"$'\n[1]\n'"$s" "$t"
printf 'e' | expect "no specials" 0 "$e" "$work" --no-special
printf '\n' | expect "nothing" 0 "[]" "$work" --no-special
: | expect "no line" 0 "" "$t"
# \r belongs to the line, \xff is U+FFFD: three bytes of fallback.
printf '\r\n\xff\n' | expect "bytes" 0 $'[259,16]\n[259,242,194,192]' \
    "$t" --no-special
printf '"\\n\\u0000"\n' | expect "json" 0 "[259,13,3]" "$t" --no-special --json
printf '7\n' | expect "not a text" 2 "" "$t" --json
printf '[1,13]\n[]\n' | expect "decode" 0 $'<s>\n\n' "$t" --decode
printf '[1,13]\n' | expect "decode to json" 0 '"\n"' "$t" --decode --json \
    --no-special
printf '[1,-1]\n' | expect "no id" 2 "" "$t" --decode
printf '[1,\n' | expect "no list" 2 "" "$t" --decode
expect "no model" 2 "" < /dev/null
expect "an unknown option" 2 "" "$t" --jsn < /dev/null
grep -q "did you mean '--json'" "$work/err" || { cat "$work/err"; bad=1; }
expect "two models" 2 "" "$t" "$t" < /dev/null

# Many at a time: the same lines in the same order, and the same first error.
seq 1 3000 | sed 's/$/ the cat/' > "$work/many"
"$hone" tokenize "$t" < "$work/many" > "$work/one"
"$hone" tokenize "$t" --threads 3 < "$work/many" > "$work/three"
cmp "$work/one" "$work/three" || bad=1
printf '"a"\n7\n"b"\n' | expect "an error among many" 2 "[1,259,264]" "$t" --json \
    --threads 2
grep -q "line 2: not a JSON string" "$work/err" || { cat "$work/err"; bad=1; }
expect "no threads" 2 "" "$t" --threads 0 < /dev/null
"$hone" tokenize "$t" --bench --threads 2 < "$work/many" |
    grep -q '"documents": 3000, "bytes": 34893, .*"threads": 2' ||
    { echo "--bench"; bad=1; }

# Folders without a tokenizer.json: what stands around a text is in the
# settings; a file by itself has nothing around.
"$(command -v python3)" - "$here/tokenizer/kinds.json" "$work" <<'PY'
import base64, json, os, sys
kinds = {k["name"]: k for k in json.load(open(sys.argv[1]))["kinds"]}
for folder, name, file in (("sp", "model, bpe", "tokenizer.model"),
                           ("bare", "model, bpe", "spiece.model"),
                           ("ranks", "ranks", "x.tiktoken")):
    path = os.path.join(sys.argv[2], folder)
    os.mkdir(path)
    kind = kinds[name]
    with open(os.path.join(path, file), "wb") as out:
        out.write(base64.b64decode(kind["base64"]) if "base64" in kind
                  else kind["file"].encode())
config = {"add_bos_token": True, "add_eos_token": True, "bos_token": "<s>",
          "eos_token": {"content": "</s>"},
          "added_tokens_decoder": {"400": {"content": "<|x|>",
                                           "special": True}}}
for folder in ("sp", "ranks"):
    json.dump(config, open(os.path.join(sys.argv[2], folder,
                                        "tokenizer_config.json"), "w"))
PY
plain=$(printf 'the cat' | "$hone" tokenize "$work/bare/spiece.model")
inner=${plain#[} inner=${inner%]}
printf 'the cat' | expect "settings" 0 "[1,$inner,2]" "$work/sp"
printf 'the cat' | expect "none asked for" 0 "$plain" "$work/sp" --no-special
printf 'the cat' | expect "no settings" 0 "$plain" "$work/bare"
printf '<|x|>' | expect "an added token" 0 "[400]" "$work/sp" --no-special
printf '<|x|>the' | expect "ranks" 0 "[400,257]" "$work/ranks" --no-special
mkdir "$work/empty"
expect "nothing to read" 2 "" "$work/empty" < /dev/null
grep -q "empty: no tokenizer.json" "$work/err" || { cat "$work/err"; bad=1; }

# There and back.
cat "$here"/../LICENSE "$here"/CMakeLists.txt > "$work/text"
printf ' \t\xc3\xa9\xf0\x9f\x98\x80  e\n' >> "$work/text"
"$hone" tokenize --no-special "$t" < "$work/text" > "$work/ids" &&
    "$hone" tokenize --decode "$t" < "$work/ids" > "$work/back"
cmp "$work/text" "$work/back" || bad=1
exit $bad
