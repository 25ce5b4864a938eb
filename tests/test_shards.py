#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Shards hold what they should, whoever reads and however they were made: the
reader of FORMAT.md finds the rows that went in; one worker or eight, json or
jsonl, one file or three, functions of the recipe or none give the same bytes;
what is odd about rows is counted and warned of."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import shard_reader

BUILD = pathlib.Path(sys.argv[1]).resolve()
TINY = pathlib.Path(__file__).resolve().parent.parent / "datasets/tiny"
RECIPE = """local hone = require "hone"
local seen = 0
return hone.train {
  model = hone.model "%s", data = hone.data.%s { %s },
  batch = hone.pack { tokens = 2048 }, optimizer = hone.adamw {},
  global_batch = 16, epochs = 1,
}
"""
MAP = """map = function(row)
  seen = seen + 1  -- a state of its own in each worker: nobody reads this
  if #row.completion % 7 == 0 then return nil end
  local fields = { [3] = "c", [1] = "a", x = "b" }
  fields[1], fields[3] = nil, nil
  for name, value in pairs(row) do fields[name] = value:upper() end
  return fields
end, template = function(row)
  local all = ""
  for name, value in pairs(row) do all = all .. name .. value end
  return all, row.completion
end"""


def prep(folder, shape, options, workers=2, model=TINY):
    recipe = folder / "recipe.lua"
    recipe.write_text(RECIPE % (model, shape, options))
    cache = tempfile.mkdtemp(dir=folder)
    done = subprocess.run(
        [BUILD / "bin/hone", "prep", recipe, "--json", "--workers",
         str(workers)], capture_output=True, text=True,
        env={**os.environ, "HONE_CACHE": cache})
    assert done.returncode == 0, done.stderr
    made = next(pathlib.Path(cache).glob("data/*"))
    left = {p.name for p in made.iterdir()}
    assert left == {"lock", "train.shard", "train.rows", "val.shard",
                    "val.rows"}, left
    return made, json.loads(done.stdout), done.stderr


def shards(made):
    return [(made / name).read_bytes() for name in ("train.shard", "val.shard")]


def read_by_another(folder):
    """Rows of ids, some longer than a frame: what went in comes out."""
    draw, rows = random.Random(1), []
    for i in range(300):
        n = 9000 if i == 123 else draw.randrange(2, 300)
        ids = [draw.randrange(200) for _ in range(n)]
        rows.append((ids, [int(draw.random() < 0.5) for _ in ids]))
        rows[-1][1][1] = 1
    (folder / "ids.jsonl").write_text("".join(
        json.dumps({"input_ids": ids, "mask": mask}) + "\n"
        for ids, mask in rows))
    made, counts, _ = prep(folder, "tokenized", '"ids.jsonl", val = 20')
    for name, part, first in (("train", rows[:280], 0), ("val", rows[280:], 280)):
        found, head = shard_reader.rows(made / f"{name}.shard")
        assert [list(row[:2]) for row in found] == [list(row) for row in part]
        assert [row[2:] for row in found] == [
            (0, first + i + 1) for i in range(len(part))]
        assert head["targets"] == counts[name]["target_tokens"] == sum(
            sum(mask[1:]) for _, mask in part)
    broken = bytearray((made / "train.shard").read_bytes())
    broken[300] ^= 4
    (made / "train.shard").write_bytes(broken)
    try:
        shard_reader.rows(made / "train.shard")
    except ValueError as error:
        assert "frame 0: its checksum differs" in str(error), error
    else:
        raise AssertionError("the second reader does not see damage")


def the_same_bytes(folder):
    draw = random.Random(2)
    words = "a cat sat on the mat and saw the rat".split()
    rows = [{"prompt": " ".join(draw.choices(words, k=draw.randrange(1, 20))),
             "completion": " ".join(draw.choices(words, k=draw.randrange(9)))}
            for _ in range(3000)]
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "all.jsonl").write_text("".join(lines))
    (folder / "all.json").write_text(json.dumps(rows, indent=1))
    for i in range(3):
        (folder / f"{i}.jsonl").write_text("".join(lines[1000 * i:][:1000]))
    parts = '"0.jsonl", "1.jsonl", "2.jsonl", val = 0.05'
    for more in ("", ", " + MAP):
        one, counts, _ = prep(folder, "prompt_completion",
                              '"all.jsonl", val = 0.05' + more, 1)
        assert counts["train"]["rows"] + counts["train"]["skipped"] == 2850
        assert (counts["train"]["left_out"] > 100) == bool(more)
        for files, workers in (('"all.jsonl", val = 0.05', 8),
                               ('"all.json", val = 0.05', 3), (parts, 5)):
            other, again, _ = prep(folder, "prompt_completion", files + more,
                                   workers)
            assert shards(one) == shards(other), (files, more, workers)
            assert again == counts
        rows_of = lambda made: (made / "train.rows").read_bytes()
        assert rows_of(one) != rows_of(other)  # of three files


def oddities(folder):
    row = {"prompt": "question ", "completion": "answer"}
    rows = [row, row, {"prompt": "", "completion": "all of it"},
            {"prompt": "cut away", "completion": ""}, row]
    (folder / "odd.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in rows))
    _, counts, said = prep(folder, "prompt_completion", '"odd.jsonl", val = 1')
    train, val = counts["train"], counts["val"]
    assert (train["repeated"], train["all_target"], val["in_train"]) == (1, 1, 1)
    for text in ("train: 1 of 4 rows are the same as an earlier one",
                 "train: 1 of 4 rows are learnt whole",
                 "val: 1 of 1 rows are trained on too"):
        assert "hone: warning: " + text in said, (text, said)
    ids = [{"input_ids": [5, 6, 7]}, {"input_ids": [5, 6, 2], "mask": [0, 0, 0]}]
    (folder / "ids2.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in ids))
    _, counts, said = prep(folder, "tokenized", '"ids2.jsonl"')
    assert counts["train"]["no_end"] == 1 and counts["train"]["no_target"] == 1
    assert "will not learn to stop" in said and "no target token" in said, said
    assert 0 < counts["train"]["batch"]["fill"] <= 1
    assert counts["train"]["lengths"]["histogram"] == [[2, 3, 1]]


def other_words(folder):
    """A model that is asked through a template, and rows that do not use it;
    a text that begins with a BOS, where the tokenizer adds one."""
    model = folder / "chat"
    shutil.copytree(TINY, model)
    (model / "chat_template.jinja").write_text("{{ messages }}")
    config = json.loads((model / "tokenizer_config.json").read_text())
    config["bos_token"] = config["eos_token"]
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    eos = subprocess.run([BUILD / "bin/hone", "tokenize", TINY], text=True,
                         input=config["eos_token"], capture_output=True)
    ids = json.loads(eos.stdout)[-1]
    (folder / "twice.jsonl").write_text(
        json.dumps({"input_ids": [ids, ids, 5, ids]}) + "\n")
    _, counts, said = prep(folder, "tokenized", '"twice.jsonl"', model=model)
    assert counts["train"]["twice_begun"] == 1 and "two BOS" in said, said
    assert "chat template" not in said, said
    (folder / "row.jsonl").write_text(
        json.dumps({"prompt": "a ", "completion": "b"}) + "\n")
    _, _, said = prep(folder, "prompt_completion", '"row.jsonl"', model=model)
    assert "warning: the model has a chat template" in said, said


with tempfile.TemporaryDirectory() as name:
    for test in (read_by_another, the_same_bytes, oddities, other_words):
        test(pathlib.Path(name))
