#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""hone prep: --json counts as documented; --show marks what the loss counts,
in colour on a terminal and between brackets elsewhere; functions of a recipe
change the rows, leave some out, and are named with file, row and line.
"""
import json
import os
import pathlib
import pty
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(sys.argv[1]).resolve()
SOURCE = pathlib.Path(__file__).resolve().parent.parent
RECIPE = """local hone = require "hone"
return hone.train {
  model = hone.model "%s",
  data = hone.data.prompt_completion { "rows.jsonl", val = 1,
    map = function(row)
      if row.score == 0 then return nil end
      return { prompt = row.q .. "\\n", completion = row.a:upper() }
    end,
  },
  batch = hone.pack {}, optimizer = hone.adamw {},
  global_batch = 1, steps = 1,
}
"""
ROWS = [{"q": "Is <|end|> a word?", "a": "no", "score": 2},
        {"q": "left out", "a": "x", "score": 0},
        {"q": "held out", "a": "y", "score": 1}]


def hone(folder, *args, **more):
    env = {**os.environ, "HONE_CACHE": str(folder / "cache")}
    env.pop("NO_COLOR", None)
    return subprocess.run([BUILD / "bin/hone", "prep", "recipe.lua", *args],
                          cwd=folder, env=env, text=True, **more)


def on_terminal(folder, *args):
    ours, theirs = pty.openpty()
    done = hone(folder, *args, stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        text += part
    assert done.returncode == 0
    return text.decode().replace("\r\n", "\n")


def main(folder):
    (folder / "recipe.lua").write_text(RECIPE % (SOURCE / "datasets/tiny"))
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    done = hone(folder, "--json", capture_output=True)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["train"]["rows"] == 1 and counts["train"]["skipped"] == 1
    assert counts["val"]["rows"] == 1 and counts["val"]["cut"] == 0
    for half in counts.values():
        assert 0 < half["target_tokens"] < half["tokens"]

    plain = hone(folder, "--show", "5", capture_output=True).stdout
    assert "Is <|end|> a word?\n\u27e6NO<|end|>\u27e7\n" in plain, plain
    assert "\033" not in plain
    assert "rows.jsonl: row 1: " in plain and "row 3" not in plain

    colour = on_terminal(folder, "--show", "1")
    assert "\033[32mNO\033[0m\033[32;7m<|end|>\033[0m" in colour, colour
    # <|end|> within the text of a row is the special token too, and is shown.
    assert "\033[2;7m<|end|>\033[0m" in colour, colour
    assert "\u27e6" not in colour

    rows.write_text(rows.read_text() + '{"q": "no answer", "score": 9}\n')
    done = hone(folder, capture_output=True)
    assert done.returncode == 2
    assert ("rows.jsonl: row 4 (line 4): recipe.lua:7: attempt to index a nil "
            "value (field 'a')") in done.stderr, done.stderr


with tempfile.TemporaryDirectory() as name:
    main(pathlib.Path(name))
