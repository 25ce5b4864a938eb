#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# docs/recipes.md shows the options as `hone describe` prints them; and the
# build line in the head of plugins/hello.c makes a plugin that loads.
set -euo pipefail
build=$(realpath "$1")
source=$(realpath "$(dirname "$0")/..")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset HONE_PLUGIN_PATH HONE_SHARE

names=$(sed -n 's/^\$ hone describe //p' "$source/docs/recipes.md")
[ -n "$names" ]
for name in $names; do
    "$build/bin/hone" describe "$name" | grep -v '^  from ' > "$scratch/now"
    awk -v line="\$ hone describe $name" \
        '$0 == line { on = 1; next } /^```/ { on = 0 } on' \
        "$source/docs/recipes.md" > "$scratch/docs"
    if ! diff -u "$scratch/docs" "$scratch/now"; then
        echo "docs/recipes.md: the options of $name have changed" >&2
        exit 1
    fi
done

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
