#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# docs/recipes.md shows the options as `hone describe` prints them, of all that
# a recipe can call; recipes shown on pages pass hone check; and the build line
# in the head of plugins/hello.c makes a plugin that loads.
set -euo pipefail
build=$(realpath "$1")
source=$(realpath "$(dirname "$0")/..")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset HONE_PLUGIN_PATH HONE_SHARE

# The page with every block as `hone describe` prints it now.
# HONE_GOLDEN=write puts it in the place of the old one.
page=$source/docs/recipes.md
while IFS= read -r line; do
    case $line in
        '$ hone describe '*)
            printf '%s\n' "$line"
            "$build/bin/hone" describe "${line##* }" | grep -v '^  from '
            while IFS= read -r line && [ "$line" != '```' ]; do :; done ;;
    esac
    printf '%s\n' "$line"
done < "$page" > "$scratch/page"
if [ "${HONE_GOLDEN:-}" = write ]; then
    cp "$scratch/page" "$page"
elif ! diff -u "$page" "$scratch/page"; then
    echo "docs/recipes.md: options have changed; HONE_GOLDEN=write $0 $1" \
        "writes them anew" >&2
    exit 1
fi
# Every component is described, and each of its options has a type and a help.
"$build/bin/hone" plugins |
    awk '/^  [a-z]+ +[a-z0-9_.]+ +[^ ]/ && !/built with/ { print $2 }' |
    sort -u > "$scratch/names"
[ "$(wc -l < "$scratch/names")" -ge 30 ]
while read -r name; do
    "$build/bin/hone" describe "$name" > "$scratch/described"
    if grep -nE '\(null\)|^  [a-z][^ ]* +[a-z ]+ +[^ ]+ +$' \
        "$scratch/described"; then
        echo "hone describe $name: an option without a help" >&2
        exit 1
    fi
    grep -q "^$name (.*): .\|^hone.$name: ." "$scratch/described"
done < "$scratch/names"
# A shape of data also by its own name.
cmp <("$build/bin/hone" describe text) <("$build/bin/hone" describe data.text)
# Whatever a recipe can call is on the page.
{
    printf '%s\n' train model lora
    (cd "$source/recipes/data" && printf 'data.%s\n' *.lua | sed 's/\.lua$//')
    (cd "$source/plugins" && ls collators schedules optimizers |
        sed -n 's/\.c$//p')
} | while read -r name; do
    grep -qxF "\$ hone describe $name" "$page" ||
        { echo "docs/recipes.md: no options of $name" >&2; exit 1; }
done

# Every op is on its page.
"$build/bin/hone" plugins | awk '$1 == "op" { print $2 }' |
    while read -r name; do
        grep -q "^| $name |" "$source/docs/ops.md" ||
            { echo "docs/ops.md: no $name" >&2; exit 1; }
    done

# The recipes of the pages are right, given a model and rows.
show_recipes() {
    sed -n '/^    local hone = require "hone"$/,/^    }$/s/^    //p' "$1"
    sed -n '/^local hone = require "hone"$/,/^}$/p' "$1"
}
show_recipes "$source/README.md" > "$scratch/readme.lua"
show_recipes "$page" > "$scratch/recipes.lua"
sed -n '/^```lua$/,/^```$/p' "$source/docs/data.md" | grep -v '^```' |
    sed '1i local hone = require "hone"; return hone.train {
        $a , batch = hone.pack {}, optimizer = hone.adamw {}, steps = 1, \
        global_batch = 1, model = hone.model "x" }' > "$scratch/data.lua"
echo '{"instruction": "a", "output": "b", "score": 5, "question": "a",' \
    '"answers": ["b"]}' > "$scratch/rows.jsonl"
cat "$scratch/rows.jsonl" "$scratch/rows.jsonl" > "$scratch/two.jsonl"
for name in readme recipes data; do
    "$build/bin/hone" check "$scratch/$name.lua" \
        --set model.path="$source/datasets/tiny" \
        --set data.path="$scratch/two.jsonl" > "$scratch/out"
    grep -q "everything it names is there" "$scratch/out"
done

# What the README quotes is said of its recipe, with these lines.
sed 's/lr = 2e-4/&, weigth_decay = 0/; s/global_batch/lora_r = 16, &/
     s/warmup = 0.03/warmup = 500/; s/epochs = 1/steps = 300/' \
    "$scratch/readme.lua" > "$scratch/recipe.lua"
(cd "$scratch" && ! "$build/bin/hone" check recipe.lua \
    --set model.path="$source/datasets/tiny" --set data.path=two.jsonl \
    2> said > out)
sed -n 's/^    \(recipe.lua:[0-9]*: \)/\1/p' "$source/README.md" |
    sort > "$scratch/quoted"
sort "$scratch/said" | diff - "$scratch/quoted"

# A plugin of one's own: hello.c under another name.
mkdir -m 755 "$scratch/mine"
sed 's/"hello"/"salute"/g' "$source/plugins/hello.c" > "$scratch/salute.c"
cc -std=c11 -shared -fPIC -fvisibility=hidden -Wl,-z,defs \
    -I "$source/core/include" -o "$scratch/mine/salute.so" "$scratch/salute.c"
"$build/bin/hone" describe salute --plugin-dir "$scratch/mine" > "$scratch/out"
grep -q '^salute (schedule): ' "$scratch/out"
# The header is C++17 too.
echo '#include "hone/plugin.h"' > "$scratch/x.cc"
c++ -std=c++17 -Wall -Wextra -fsyntax-only -I "$source/core/include" \
    "$scratch/x.cc"
