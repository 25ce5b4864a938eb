#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# docs/plugins.md to the letter: files that it shows are written, what it types
# is typed, excerpts and files that it names must be where it says.
set -euo pipefail
build=$(realpath "$1")
source=$(realpath "$(dirname "$0")/..")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
umask 022

# hone's folder as the reader has it: sources, and a build.
mkdir "$scratch/home" "$scratch/hone"
for name in recipes datasets tests plugins; do
    ln -s "$source/$name" "$scratch/hone/$name"
done
ln -s "$build" "$scratch/hone/build"

python3 - "$source" "$scratch" <<'PY'
import pathlib, re, sys
source, scratch = map(pathlib.Path, sys.argv[1:])
page = (source / "docs/plugins.md").read_text(encoding="utf-8")
typed = ["set -e"]
excerpts = 0
for language, name, body in re.findall(
        r"^```(\w+) ?(\S*)\n(.*?)^```$", page, re.M | re.S):
    if language == "sh":
        typed.append(body)
    elif "/" in name:
        excerpts += 1
        if body not in (source / name).read_text(encoding="utf-8"):
            sys.exit(f"docs/plugins.md: {name} has no such lines:\n{body}")
    else:  # the page has just gone into the folder for it
        typed.append(f"cat > {name} <<'END_OF_{name}'\n{body}END_OF_{name}\n")
if not excerpts or len(typed) < 5:
    sys.exit("docs/plugins.md: nothing to try was found")
for name in re.findall(r"`((?:tests|plugins|kernels|docs)/[^` ]*)`", page):
    if not (source / name).exists():
        sys.exit(f"docs/plugins.md: there is no {name}")
(scratch / "typed").write_text("\n".join(typed))
PY
cd "$scratch/hone"
if ! env -i PATH="$PATH" HOME="$scratch/home" CC="${CC:-cc}" \
    OMP_WAIT_POLICY=passive bash "$scratch/typed" > "$scratch/log" 2>&1; then
    cat "$scratch/log" >&2
    exit 1
fi
for text in 'halving (schedule)' 'mine.swiglu_linear .* ok$' \
    'mine.gate_grad .* ok$' 'everything it names is there'; do
    grep -q "$text" "$scratch/log" || { echo "no '$text'" >&2; exit 1; }
done
