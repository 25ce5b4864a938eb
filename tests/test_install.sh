#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What `cmake --install` leaves: these files and no others, through DESTDIR
# too; the tree may be moved, and pkg-config and hone find what lies in it.
set -euo pipefail
build=$(realpath "$1")
source=$(realpath "$(dirname "$0")/..")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset HONE_PLUGIN_PATH HONE_SHARE

DESTDIR=$scratch/stage cmake --install "$build" --prefix /opt/hone \
    > "$scratch/log"
[ "$(ls "$scratch/stage")" = opt ]
mv "$scratch/stage/opt/hone" "$scratch/moved"
tree=$scratch/moved

# The plugins of the build, hone's recipes with the tiny model and its rows, the
# examples for authors of plugins, and three files more.
{
    (cd "$build" && find lib/hone/plugins -name '*.so')
    (cd "$source" && find recipes datasets/tiny datasets/tiny_*.jsonl -type f \
        -printf 'share/hone/%p\n')
    (cd "$source/tests/outside" && find . -type f \
        -printf 'share/hone/examples/%P\n')
    printf '%s\n' share/hone/examples/hello.c bin/hone \
        include/hone/nf4.h include/hone/plugin.h lib/pkgconfig/hone.pc
} | sort > "$scratch/want"
(cd "$tree" && find . -type f -printf '%P\n') | sort > "$scratch/have"
diff -u "$scratch/want" "$scratch/have"
cmp "$tree/include/hone/plugin.h" "$source/core/include/hone/plugin.h"

# From another folder, with nothing in the environment.
cd "$scratch"
version=$("$tree/bin/hone" --version)
"$tree/bin/hone" plugins > plugins
grep -qx "$tree/lib/hone/plugins/cpu.so" plugins
if grep "refused\|$build" plugins; then exit 1; fi
for task in quickstart pretrain-tiny; do
    "$tree/bin/hone" check "$tree/share/hone/recipes/$task.lua"
done
"$tree/bin/hone" kernels check cpu linear > kernels
grep -q "ok$" kernels

export PKG_CONFIG_PATH=$tree/lib/pkgconfig
[[ $version == *"$(pkg-config --modversion hone)"* ]]
[ "$(realpath "$(pkg-config --variable=plugindir hone)")" = \
    "$tree/lib/hone/plugins" ]
[ "$(realpath "$(pkg-config --variable=recipedir hone)")" = \
    "$tree/share/hone/recipes" ]
[ -d "$(pkg-config --variable=datasetdir hone)/tiny" ]
[ -d "$(pkg-config --variable=exampledir hone)/gate" ]
[ -z "$(pkg-config --libs hone)" ]
# shellcheck disable=SC2046 # several words
cc -shared -fPIC -fvisibility=hidden -Wl,-z,defs $(pkg-config --cflags hone) \
    -o hello.so "$source/plugins/hello.c"
