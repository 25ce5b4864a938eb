#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Token ids that the model has no row for are refused before the first step,
with file, row, id and the vocabulary's size: of rows of ids, of texts and
conversations whose tokenizer knows more tokens than the model, of held-out
rows, of what was prepared before, and of a prompt. A tokenizer with more
tokens is no fault by itself, nor is a model with more rows."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(sys.argv[1]).resolve()
TINY = pathlib.Path(__file__).resolve().parent.parent / "datasets/tiny"
TOKENS, FEW = 1024, 96  # of the tokenizer; rows of the small model
CURE = "take the model's own; else resize the model's embeddings"
RECIPE = """local hone = require "hone"
return hone.train {
  model = hone.model { "%s", init = "random" },
  data = hone.data.%s { "rows.jsonl", %s },
  batch = hone.pack { tokens = 64 }, optimizer = hone.adamw {},
  global_batch = 2, steps = 2, loggers = "none", out = "out",
}
"""


def make_model(folder, rows):
    shutil.copytree(TINY, folder, ignore=lambda *_: ["model.safetensors"])
    config = json.loads((TINY / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(
        {**config, "vocab_size": rows, "hidden_size": 32, "head_dim": 8,
         "intermediate_size": 64, "num_hidden_layers": 1,
         "num_attention_heads": 4, "num_key_value_heads": 2}))
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }}{% endfor %}")


def hone(folder, *args):
    return subprocess.run([BUILD / "bin/hone", *args], cwd=folder, text=True,
                          capture_output=True,
                          env={**os.environ, "HONE_CACHE": str(folder / "c")})


def run(folder, model, shape, rows, more="", verb="run"):
    (folder / "recipe.lua").write_text(RECIPE % (model, shape, more))
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows))
    shutil.rmtree(folder / "out", ignore_errors=True)
    return hone(folder, verb, "recipe.lua")


def expect_refused(done, *words):
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    for word in words:
        assert word in done.stderr, (word, done.stderr)
    assert "nan" not in done.stderr + done.stdout, done.stderr


def expect_trained(folder, done):
    assert done.returncode == 0, done.stderr
    losses = [r["loss"] for r in map(json.loads, open(
        folder / "out/metrics.jsonl")) if "loss" in r]
    assert len(losses) == 2 and all(0 < x < 20 for x in losses), losses


def rows_of_ids(folder):
    good = [{"input_ids": [1 + i, 5, FEW - 1]} for i in range(4)]
    far = {"input_ids": [3, FEW, 4]}
    size = f"vocabulary of {FEW} ids"
    for verb in ("run", "plan"):
        expect_refused(
            run(folder, "few", "tokenized", good[:2] + [far] + good, "", verb),
            f"rows.jsonl: row 3: token id {FEW} ", size, CURE,
            "recipe.lua:4: hone.data.tokenized: ")
    expect_refused(hone(folder, "run", "recipe.lua"), "row 3")  # prepared
    expect_refused(run(folder, "few", "tokenized", good + [far], "val = 1"),
                   f"rows.jsonl: row 5: token id {FEW} ", size)
    unlearnt = {**far, "labels": [3, -100, 4]}
    expect_refused(run(folder, "few", "tokenized", [unlearnt] + good),
                   f"rows.jsonl: row 1: token id {FEW} ", size)
    expect_refused(run(folder, "few", "tokenized", good + [
        {"input_ids": [3, 4], "labels": [-100, TOKENS]}]),
                   f"row 5 (line 5): label 2 is {TOKENS}, neither -100 nor")
    expect_refused(run(folder, "few", "tokenized", good + [
        {"input_ids": [3, -4]}]), "row 5 (line 5): id 2 is -4, no id")
    for model in ("few", "many"):
        done = run(folder, model, "tokenized", good + [
            {"input_ids": [3, 4, 5], "labels": [-100, 4, 5]}], "val = 1")
        expect_trained(folder, done)


def rows_of_text(folder):
    text = "The cat and the dog are friends."
    ids = json.loads(subprocess.run(
        [BUILD / "bin/hone", "tokenize", TINY], text=True, input=text,
        capture_output=True, check=True).stdout)
    far = next(i for i in ids if i >= FEW)
    for shape, row in (("text", {"text": text}),
                       ("alpaca", {"instruction": "a", "output": text}),
                       ("messages", {"messages": [
                           {"role": "user", "content": "a"},
                           {"role": "assistant", "content": text}]})):
        expect_refused(run(folder, "few", shape, [row] * 2),
                       "rows.jsonl: row 1: token id ",
                       f"vocabulary of {FEW} ids", CURE,
                       f"tokenizer has {TOKENS}")
        expect_trained(folder, run(folder, "many", shape, [row] * 4))
    return text, far


def prompts(folder, text, far):
    expect_trained(folder, run(folder, "few", "tokenized",
                               [{"input_ids": [1, 2, 3]}] * 4))
    model = str(folder / "out/model")
    done = hone(folder, "generate", model, "--prompt", text, "--max-tokens",
                "2")
    expect_refused(done, f"has id {far}, beyond the model's vocabulary of "
                   f"{FEW} ids")
    done = hone(folder, "generate", model, "--prompt", "a", "--max-tokens",
                "2")
    assert done.returncode == 0, done.stderr


with tempfile.TemporaryDirectory() as name:
    place = pathlib.Path(name)
    make_model(place / "few", FEW)
    make_model(place / "many", 2 * TOKENS)
    rows_of_ids(place)
    prompts(place, *rows_of_text(place))
