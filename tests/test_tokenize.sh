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

# There and back.
cat "$here"/../LICENSE "$here"/CMakeLists.txt > "$work/text"
printf ' \t\xc3\xa9\xf0\x9f\x98\x80  e\n' >> "$work/text"
"$hone" tokenize --no-special "$t" < "$work/text" > "$work/ids" &&
    "$hone" tokenize --decode "$t" < "$work/ids" > "$work/back"
cmp "$work/text" "$work/back" || bad=1
exit $bad
