#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What hone says of device "cuda" where there is no driver: the plugin loads,
# asking for it fails with a cure, and "auto" takes the CPU. And that kernels
# which cover a few calls stand before those that cover nearly all.
set -uo pipefail
build=$1
hone=$build/bin/hone
failed=0

expect() { # WHAT TEXT PATTERN
    grep -q -e "$3" <<<"$2" && return
    printf '%s: no "%s" in:\n%s\n' "$1" "$3" "$2"
    failed=1
}

if [ ! -e "$build/lib/hone/plugins/cuda.so" ]; then
    echo "skipped: pack cuda was not built (no CUDA Toolkit)"
    exit 0
fi
kernels=$(tr -d '\n' < "$build/gen/cuda.list")
for own in factor factor_dw factor_pair factor_wide; do
    expect "$own before linear" "$kernels" "KERNELS($own).*KERNELS(linear)"
done
if ldconfig -p | grep -q 'libcuda\.so\.1'; then
    echo "skipped: there is a driver; tests/gpu/run is for this machine"
    exit 0
fi
expect plugins "$("$hone" plugins 2>&1)" '^  pack *cuda '
expect plugins "$("$hone" plugins 2>&1)" '^  pack *cudnn '
for pack in cuda cudnn; do # cudnn loads without cuDNN, too
    said=$("$hone" kernels check $pack 2>&1)
    code=$?
    expect message "$said" 'no NVIDIA driver.*device = "cpu"'
    expect "exit code" "$code" '^2$'
done
expect cpu "$("$hone" kernels check cpu add 2>&1)" '^add .* ok$'
exit $failed
