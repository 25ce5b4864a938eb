#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""hone prep: --json counts as documented; --show marks what the loss counts,
in colour on a terminal and between brackets elsewhere; functions of a recipe
change the rows, leave some out, and are named with file, row and line.
"""
import fcntl
import json
import os
import pathlib
import pty
import shutil
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


def write(folder, data, rows, model=SOURCE / "datasets/tiny",
          encoding="utf-8"):
    """A recipe of DATA, and rows."""
    start, rest = (RECIPE % model).split("data = hone.data.")
    (folder / "recipe.lua").write_text(
        f"{start}data = hone.data.{data},\n{rest[rest.index('  batch'):]}")
    (folder / "rows.jsonl").write_text("".join(
        json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        encoding=encoding)


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


PAIRS = """return {
  fields = { a = { type = "array" }, b = { type = "array" } },
  map = function(row)
    return { { ids = row.a, target = true },
             { ids = row.b, target = true, row = true } }
  end,
}
"""


def test_half_a_row(folder):
    """Of a row whose second answer is damaged the first is left out too, and
    the rows behind it are themselves."""
    shutil.copytree(BUILD / "share/hone/recipes", folder / "share")
    (folder / "share/data/pairs.lua").write_text(PAIRS)
    os.environ["HONE_SHARE"] = str(folder / "share")
    write(folder, 'pairs { "rows.jsonl", broken = "skip" }',
          [{"a": [5, 6, 7], "b": [4000]}, {"a": [8, 9], "b": [10, 11]}])
    done = hone(folder, "--json", capture_output=True)
    del os.environ["HONE_SHARE"]
    counts = json.loads(done.stdout)["train"]
    assert "row 1 (line 1): id 4000" in done.stderr, done.stderr
    assert (counts["rows"], counts["tokens"], counts["broken"]) == (2, 4, 1), \
        counts


def test_warnings(folder):
    """What is said of rows in another encoding, and of rows of texts for a
    model with a chat template; not of white space behind the last turn."""
    model = folder / "model"
    shutil.copytree(SOURCE / "datasets/tiny", model)
    (model / "tokenizer_config.json").write_text(
        '{"eos_token": "<|end|>", "model_max_length": 1%s, "chat_template": '
        '"{%% for m in messages %%}{{ m.content }}<|end|>\\n{%% endfor %%}"}'
        % ("0" * 30))
    text = {"prompt": "the caf\u00e9", "completion": "is here"}
    chat = {"messages": [{"role": "user", "content": "the cat"},
                         {"role": "assistant", "content": "sat on"}]}
    for data, row, encoding, want in (
            ('prompt_completion { "rows.jsonl" }', text, "latin-1",
             ["rows.jsonl: row 1: bytes that are no UTF-8",
              "the model has a chat template"]),
            ('messages { "rows.jsonl", loss = "all" }', chat, "utf-8", [])):
        write(folder, data, [row] * 2, model, encoding)
        said = hone(folder, capture_output=True).stderr.split("warning: ")[1:]
        said = [s for s in said if "same as an earlier" not in s]
        assert len(said) == len(want) and \
            all(w in s for s, w in zip(said, want)), said


def test_end_token_added(folder):
    """A tokenizer that ends every text ends no prompt, and no text twice."""
    model = folder / "model"
    shutil.copytree(SOURCE / "datasets/tiny", model)
    made = json.loads((model / "tokenizer.json").read_text())
    end = {"SpecialToken": {"id": "<|end|>", "type_id": 0}}
    made["post_processor"] = {
        "type": "TemplateProcessing", "pair": [],
        "single": [end, {"Sequence": {"id": "A", "type_id": 0}}, end],
        "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [0],
                                       "tokens": ["<|end|>"]}}}
    (model / "tokenizer.json").write_text(json.dumps(made))
    for shape, row, want in (
            ("prompt_completion", {"prompt": "p", "completion": "c"},
             "<|end|>p\u27e6c<|end|>\u27e7"),
            ("prompt_completion", {"prompt": "", "completion": "c"},
             "<|end|>\u27e6c<|end|>\u27e7"),
            ("text", {"text": "x"}, "<|end|>\u27e6x<|end|>\u27e7")):
        write(folder, shape + ' { "rows.jsonl" }', [row], model)
        done = hone(folder, "--show", "1", capture_output=True)
        assert done.stdout.rstrip().split("\n")[-1] == want, done.stdout


def test_changed(folder):
    """Rows that changed while another process held the data up are not kept
    under the name of those that were there before."""
    row = {"prompt": "a b", "completion": "c"}
    write(folder, 'prompt_completion { "rows.jsonl" }', [row])
    hone(folder, capture_output=True)
    place = next((folder / "cache/data").iterdir())
    for shard in place.glob("*.shard"):
        shard.unlink()
    with open(place / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        env = {**os.environ, "HONE_CACHE": str(folder / "cache")}
        waiting = subprocess.Popen(
            [BUILD / "bin/hone", "prep", "recipe.lua"], cwd=folder, env=env,
            text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert "waiting for it" in waiting.stderr.readline()
        write(folder, 'prompt_completion { "rows.jsonl" }', [row] * 2)
    said = waiting.communicate()[1]
    assert waiting.returncode == 2 and "it has changed" in said, said
    assert not list(place.glob("*.shard")), said

    (place / "lock").unlink()
    (place / "lock").mkdir()
    write(folder, 'prompt_completion { "rows.jsonl" }', [row])
    done = hone(folder, capture_output=True)
    assert done.returncode == 1 and "lock: Is a directory; set HONE_CACHE" in \
        done.stderr, done.stderr


for test in (main, test_half_a_row, test_warnings, test_end_token_added,
             test_changed):
    with tempfile.TemporaryDirectory() as name:
        test(pathlib.Path(name))
