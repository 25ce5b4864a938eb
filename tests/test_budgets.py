#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""More memory never makes a plan slower, by 0.1 % at most.

Models of a few layers of known shapes are planned for cards that come with
hone, within budgets from the least to the most: micro-batches of other sizes,
layers computed again, sent out, weights streamed. No GPU is needed, but the
pack for it.
"""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import random_recipes

BUILD = pathlib.Path(sys.argv[1])
HONE = str(BUILD / "bin/hone")
BUDGETS, SLOWER = 12, 1.001
LORA = 'adapter = hone.lora { r = 16, alpha = 32, targets = "all-linear" },'
FULL = 'clip = 0, master = false, update = "backward", states = "host",'
PACK, PAD = "hone.pack { tokens = 8192 }", "hone.pad { rows = 2 }"
LLAMA, SMALL = (4096, 14336, 32, 8), (2048, 8192, 32, 8)
CASES = ( # card, shape, layers, storage, batch, rows a step, the rest
    ("t4", LLAMA, 8, "nf4", PACK, 16, LORA),
    ("h100-80gb", LLAMA, 8, "bf16", "hone.pad { rows = 4 }", 4, LORA),
    ("a10", SMALL, 12, "nf4", PACK, 8, LORA),
    ("rtx-4090", SMALL, 6, "bf16", PAD, 2, FULL),
)

bad = []


def write(folder, card, shape, layers, storage, batch, rows, rest):
    hidden, inner, heads, keys = shape
    folder.mkdir()
    for file in random_recipes.TOKENIZER.glob("tokenizer*.json"):
        shutil.copy(file, folder)
    (folder / "config.json").write_text(json.dumps(dict(
        architectures=["-"], model_type="llama", hidden_size=hidden,
        intermediate_size=inner, num_hidden_layers=layers, vocab_size=32000,
        num_attention_heads=heads, num_key_value_heads=keys,
        tie_word_embeddings=False, max_position_embeddings=8192,
        rms_norm_eps=1e-5, hidden_act="silu", torch_dtype="bfloat16")))
    random_recipes.write_rows(folder / "rows.jsonl", random.Random(3), 2048)
    (folder / "recipe.lua").write_text(f"""local hone = require "hone"
return hone.train {{
  model = hone.model {{ ".", init = "random", storage = "{storage}" }},
  data = hone.data.tokenized {{ "rows.jsonl" }}, batch = {batch},
  optimizer = hone.adamw {{ lr = 1e-4 }}, device = "cuda",
  global_batch = {rows}, steps = 4, {rest}
}}
""")


def plan(folder, card, memory):
    return subprocess.run(
        [HONE, "plan", folder / "recipe.lua", "--json", "--card", card,
         "--set", f"memory={memory >> 10}KiB"], text=True, capture_output=True)


def sweep(folder, card):
    refused = plan(folder, card, 1 << 20)
    least = random_recipes.least(refused.stderr)
    all_kept = plan(folder, card, 1 << 40)
    if refused.returncode != 3 or all_kept.returncode:
        sys.exit(f"{folder.name}: {refused.stderr} {all_kept.stderr}")
    most = json.loads(all_kept.stdout)["device_bytes"]["total"]
    best, means = None, set()
    for i in range(BUDGETS + 1):
        budget = int(least * 1.02 + (most - least * 1.02) * i / BUDGETS) + 1024
        out = plan(folder, card, budget)
        if out.returncode:
            bad.append(f"{folder.name}: {budget}: {out.stderr}")
            continue
        made = json.loads(out.stdout)
        seconds = made["seconds_per_step"]
        if made["device_bytes"]["total"] > budget:
            bad.append(f"{folder.name}: over {budget}")
        if best and seconds > SLOWER * best:
            bad.append(f"{folder.name}: {budget}: {seconds} s, within less "
                       f"{best}: {made['means']}")
        best = min(best or seconds, seconds)
        means.add(json.dumps(made["means"]))
    if len(means) < 4:
        bad.append(f"{folder.name}: {len(means)} plans for all budgets")


def main():
    if not (BUILD / "lib/hone/plugins/cuda.so").exists():
        print("skipped: this build has no pack for CUDA cards")
        return 0
    with tempfile.TemporaryDirectory() as work:
        os.environ["HONE_CACHE"] = work + "/cache"
        for i, case in enumerate(CASES):
            folder = pathlib.Path(work) / f"{i}-{case[0]}"
            write(folder, *case)
            sweep(folder, case[0])
    for line in bad:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
