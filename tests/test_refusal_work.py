#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A refusal does not take long: so many micro-steps are compiled for it.

The clock would say nothing on a busy machine. Models of 40 tiny layers, whole
and with an adapter, on the device `fake`, within next to nothing and within
almost what they need.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import random_recipes

BUILD = pathlib.Path(sys.argv[1])
ROOT = pathlib.Path(__file__).parent.parent
CONFIG = dict(
    architectures=["-"], model_type="llama", hidden_size=64,
    intermediate_size=176, num_hidden_layers=40, num_attention_heads=4,
    num_key_value_heads=2, vocab_size=1000, tie_word_embeddings=False,
    max_position_embeddings=8192, rms_norm_eps=1e-5, hidden_act="silu",
    torch_dtype="bfloat16")
ADAPTER = "adapter = hone.lora { r = 8, alpha = 16 },"
# What it has besides, the share of the least that is allowed, compiled at most.
CASES = (("", 0, 37), ("", 0.9, 106), (ADAPTER, 0, 87), (ADAPTER, 0.9, 157))


def refuse(recipe, memory):
    out = subprocess.run(
        [BUILD / "bin/hone", "plan", recipe, "--plugin-dir",
         BUILD / "tests/plugins", "--set", "device=fake", "--set",
         f"memory={memory >> 10}KiB"], text=True, capture_output=True,
        env={**os.environ, "HONE_LOG": "detail"})
    count = re.search(r"fit: (\d+) micro-steps were compiled", out.stderr)
    assert out.returncode == 3 and count, out.stderr
    return int(count[1]), random_recipes.least(out.stderr)


def main():
    bad = 0
    with tempfile.TemporaryDirectory() as work:
        os.environ["HONE_CACHE"] = work + "/cache"
        folder, least = pathlib.Path(work), 0
        for file in (ROOT / "datasets/tiny").glob("tokenizer*.json"):
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "config.json").write_text(json.dumps(CONFIG))
        (folder / "rows.jsonl").write_text(
            2 * (json.dumps({"input_ids": [*range(3, 403)]}) + "\n"))
        for more, share, most in CASES:
            (folder / "recipe.lua").write_text(f"""local hone = require "hone"
return hone.train {{
  model = hone.model {{ ".", init = "random" }}, {more}
  data = hone.data.tokenized {{ "rows.jsonl" }},
  batch = hone.pad {{ rows = 1 }}, global_batch = 1, steps = 2,
  optimizer = hone.adamw {{ lr = 1e-4 }},
}}
""")
            count, least = refuse(folder / "recipe.lua",
                                  max(4096, int(least * share)))
            if count > most:
                bad = 1
                print(f"{more} {share}: {count} were compiled, at most {most}")
    return bad


if __name__ == "__main__":
    sys.exit(main())
