#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The table of docs/memory.md of what fits: contexts.py HONE prints it anew,
contexts.py HONE CARD MODEL... plans those of its cells again.

For each model, method and card: the longest row that a run can train on, as
the run fits itself to all of the card's memory, among sizes a quarter of a
doubling apart, and the tokens/s that are predicted for it and for rows of 2,048
tokens. A cell is made by `hone plan --card`, from the model's config alone; no
GPU, no weights. It takes two cores a quarter of an hour."""
import concurrent.futures
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/gpu"))
import models  # noqa: E402

CARDS = {"rtx-3060": "RTX 3060, 12 GB", "t4": "T4, 16 GB",
         "rtx-4060-ti-16gb": "RTX 4060 Ti, 16 GB", "a10": "A10, 24 GB",
         "rtx-4090": "RTX 4090, 24 GB", "rtx-5090": "RTX 5090, 32 GB",
         "a100-80gb": "A100, 80 GB", "h100-80gb": "H100, 80 GB"}
FP16 = {"t4"}  # no bf16: gradients are looked at before the update
# Shape, tokens of the longest row it is made for.
MODELS = {
    "Llama-3.2-1B": (models.SHAPES["llama-1b"], 131072),
    "Llama-3.2-3B": (models.SHAPES["llama-3b"], 131072),
    "Llama-3.1-8B": (models.SHAPES["llama-8b"], 131072),
    "Qwen3-14B": (("qwen3", 5120, 17408, 40, 40, 8, 128, 151936, False, {}),
                  40960),
    "Llama-3.1-70B": (("llama", 8192, 28672, 80, 64, 8, 128, 128256, False,
                       models.LONG), 131072),
}
LORA = "adapter = hone.lora { r = 16, alpha = 16 },"
# Storage, what the recipe has besides, options of AdamW.
METHODS = {
    "QLoRA": ("nf4", LORA, ""),
    "LoRA": ("bf16", LORA, ""),
    "whole": ("bf16", 'master = false, clip = 0, update = "backward", '
              'states = "host",', ', state = "int8"'),
}
SHORT = 2048
SIZES = [q << e for e in range(7, 16) for q in (4, 5, 6, 7)]
PAGE = ROOT / "docs/memory.md"
BEGIN = "<!-- tests/contexts.py: begin -->\n"
END = "<!-- tests/contexts.py: end -->\n"


def prepare(folder):
    for name, (shape, most) in MODELS.items():
        to = folder / name
        to.mkdir()
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (to / file).write_bytes((models.TINY / file).read_bytes())
        config = dict(models.config(shape), max_position_embeddings=most)
        (to / "config.json").write_text(json.dumps(config))
    draw = random.Random(0)
    ids = [draw.randrange(1, 400) for _ in range(max(SIZES))]
    for tokens in SIZES:
        (folder / f"rows-{tokens}.jsonl").write_text(
            2 * (json.dumps({"input_ids": ids[:tokens]}) + "\n"))


def plan(hone, folder, card, model, method, tokens):
    """Tokens/s, or None where the run is refused."""
    storage, more, options = METHODS[method]
    if card in FP16:
        more = more.replace("backward", "after")
    recipe = folder / f"{card}-{model}-{method}-{tokens}.lua"
    recipe.write_text(f"""local hone = require "hone"
return hone.train {{
  model = hone.model {{ "{model}", init = "random", storage = "{storage}" }},
  {more}
  data = hone.data.tokenized {{ "rows-{tokens}.jsonl" }},
  batch = hone.pad {{ rows = 1 }}, global_batch = 1, steps = 10,
  optimizer = hone.adamw {{ lr = 1e-4{options} }}, device = "cuda",
}}
""")
    ran = subprocess.run([hone, "plan", recipe, "--card", card, "--json"],
                         capture_output=True, text=True,
                         env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    if ran.returncode == 3:
        return None
    if ran.returncode:
        raise SystemExit(f"{recipe.name}: {ran.returncode}: {ran.stderr}")
    return tokens / json.loads(ran.stdout)["seconds_per_step"]


def cell(hone, folder, card, model, method):
    """The largest of the sizes that fits, tokens/s with it and with SHORT."""
    sizes = [s for s in SIZES if s <= MODELS[model][1]]
    low, high = 0, len(sizes)
    speed = plan(hone, folder, card, model, method, sizes[0])
    if not speed:
        return "--"
    while high - low > 1:
        at = (low + high) // 2
        got = plan(hone, folder, card, model, method, sizes[at])
        if got:
            low, speed = at, got
        else:
            high = at
    return said(sizes[low], speed, plan(hone, folder, card, model, method,
                                        SHORT))


def said(tokens, speed, short):
    return f"{tokens:,}: {rounded(speed)}" + \
        (f"; {rounded(short)}" if short else "")


def rounded(speed):
    """To two digits."""
    unit = 10 ** max(0, len(str(int(speed))) - 2)
    return f"{int(speed / unit + 0.5) * unit:,}"


def table(hone, folder):
    cells = [(m, how, c) for m in MODELS for how in METHODS for c in CARDS]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        got = dict(zip(cells, pool.map(
            lambda k: cell(hone, folder, k[2], k[0], k[1]), cells)))
    lines = ["| | | " + " | ".join(CARDS.values()) + " |",
             "|---|---|" + "---|" * len(CARDS)]
    for m in MODELS:
        for how in METHODS:
            row = [got[m, how, c] for c in CARDS]
            lines.append(f"| {m} | {how} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def page():
    """The cells of the page's table, by model, method and card."""
    text = PAGE.read_text(encoding="utf-8")
    lines = text[text.index(BEGIN) + len(BEGIN):text.index(END)].splitlines()
    out = {}
    for line in lines[2:]:
        model, method, *row = re.findall(r"(?<=\| )[^|]*(?= \|)", line)
        out.update({(model, method, c): r for c, r in zip(CARDS, row)})
    return out


def check(hone, folder, card, names):
    """The page's cell fits, as fast, and the next size does not."""
    cells = page()
    for model in names:
        for method in METHODS:
            want = cells[model, method, card]
            sizes = [s for s in SIZES if s <= MODELS[model][1]]
            at = -1
            if want != "--":
                at = sizes.index(int(want.split(":")[0].replace(",", "")))
                got = plan(hone, folder, card, model, method, sizes[at])
                assert got, f"{model}, {method}: {want} does not fit {card}"
                short = plan(hone, folder, card, model, method, SHORT)
                assert said(sizes[at], got, short) == want, \
                    (model, method, want, got, short)
            if at + 1 < len(sizes):
                assert not plan(hone, folder, card, model, method,
                                sizes[at + 1]), (model, method, want)


def main():
    hone = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="hone-contexts-") as temporary:
        folder = pathlib.Path(temporary)
        os.environ["HONE_CACHE"] = str(folder / "cache")
        prepare(folder)
        if len(sys.argv) > 2:
            check(hone, folder, sys.argv[2], sys.argv[3:])
        else:
            print(BEGIN + table(hone, folder) + END, end="")


if __name__ == "__main__":
    main()
