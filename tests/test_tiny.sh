#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The bundled data is what its script makes: run again, in a folder of its own,
# datasets/make_tiny.py writes the same bytes.
set -euo pipefail
source=$(cd "$(dirname "$0")/../datasets" && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

cp "$source"/make_tiny.py "$source"/tiny_world.py "$copy"
python3 "$copy/make_tiny.py"
for file in tiny_text.jsonl tiny_instruct.jsonl tiny/tokenizer.json \
    tiny/tokenizer_config.json tiny/config.json; do
    cmp "$copy/$file" "$source/$file"
done
