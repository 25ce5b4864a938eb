#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# docs/plugins.md and docs/models.md to the letter, each in a home of its own:
# files that they show are written, what they type is typed, excerpts and files
# that they name must be where they say.
set -euo pipefail
build=$(realpath "$1")
source=$(realpath "$(dirname "$0")/..")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
umask 022

# hone's folder as the reader has it: the pages ask for the build alone.
mkdir "$scratch/hone"
ln -s "$build" "$scratch/hone/build"

# What the reader of PAGE types, as a script.
typed() {
    python3 - "$source" "$1" <<'PY'
import pathlib, re, sys
source, title = pathlib.Path(sys.argv[1]), sys.argv[2]
page = (source / title).read_text(encoding="utf-8")
def there(name):
    name = name.replace("examples/", "tests/outside/")
    return (source / name).exists() and source / name or sys.exit(
        f"{title}: there is no {name}")
print("set -e")
for language, name, body in re.findall(
        r"^```(\w+) ?(\S*)\n(.*?)^```$", page, re.M | re.S):
    if language == "sh":
        print(body)
    elif "/" in name:
        if body not in there(name).read_text(encoding="utf-8"):
            sys.exit(f"{title}: {name} has no such lines:\n{body}")
    elif name:  # the page has just gone into the folder for it
        print(f"cat > {name} <<'END_OF_{name}'\n{body}END_OF_{name}\n")
for name in re.findall(r"`((?:examples|plugins|kernels|docs|tests|recipes)/"
                       "[^` A-Z]*)`", page):
    there(name)
PY
}

# try PAGE TEXT...: each text must be among what is printed.
try() {
    local page=$1 text
    shift
    rm -rf "$scratch/home"
    mkdir "$scratch/home"
    typed "$page" > "$scratch/typed"
    cd "$scratch/hone"
    if ! env -i PATH="$PATH" HOME="$scratch/home" CC="${CC:-cc}" \
        OMP_WAIT_POLICY=passive bash "$scratch/typed" > "$scratch/log" 2>&1
    then
        cat "$scratch/log" >&2
        exit 1
    fi
    for text; do
        grep -q "$text" "$scratch/log" ||
            { echo "$page: no '$text'" >&2; exit 1; }
    done
}
try docs/plugins.md 'halving (schedule)' 'mine.swiglu_linear .* ok$' \
    'mine.gate_grad .* ok$' 'everything it names is there'
try docs/models.md 'everything it names is there' '^host_bytes ' \
    'step 60  held-out loss [45]' 'tensors, .* parameters, random' \
    'saved .*run-lora/adapter'
