# SPDX-License-Identifier: MIT
"""What the comparisons of tests/gpu share: runs of hone from a few words of a
recipe, the rows as Transformers gets them, and lines with a verdict.

HONE: the program (tests/gpu/run sets it). DEVICE: cuda, or cpu to try a script
where no card is. Rows are those of the test material, in Alpaca's template."""
import json
import os
import pathlib
import subprocess
import sys
import threading

HONE = pathlib.Path(os.environ["HONE"])
DEVICE = os.environ.get("DEVICE", "cuda")
GSM8K = "instruct/alpaca_fmt/gsm8k_train_alpaca.json"
HEAD = "Below is an instruction that describes a task"
ALONE = (HEAD + ". Write a response that appropriately completes the request."
         "\n\n### Instruction:\n%s\n\n### Response:\n")
WITH_INPUT = (HEAD + ", paired with an input that provides further context. "
              "Write a response that appropriately completes the request.\n\n"
              "### Instruction:\n%s\n\n### Input:\n%s\n\n### Response:\n")
failed = []


def material(path):
    return pathlib.Path(os.environ["HONE_TEST_DATA"]).resolve() / path


def verdict(name, text, good=None):
    """A line of the table; GOOD None is a line without a bound."""
    word = {None: "", True: "ok", False: "FAIL"}[good]
    print(f"{name:<34} {text:<58} {word}".rstrip(), flush=True)
    if good is False:
        failed.append(name)


def finish():
    sys.exit(1 if failed else 0)


def write_rows(path, first, count, order=None):
    rows = json.load(open(material(GSM8K)))[first:first + count]
    rows = [rows[i] for i in order] if order else rows
    path.write_text(json.dumps(rows))
    return rows


def recipe(path, **keys):
    """Keys and values as Lua has them."""
    keys = {"device": f'"{DEVICE}"', "optimizer": "hone.adamw { lr = 1e-3 }",
            "schedule": "hone.constant {}", **keys}
    path.write_text('local hone = require "hone"\nreturn hone.train {\n' +
                    "".join(f"  {k} = {v},\n" for k, v in keys.items() if v) +
                    "}\n")
    return path


def command(path, out, *more):
    return [str(HONE), "run", str(path), "--out", str(out), *more]


def environment(folder):
    return {**os.environ, "HONE_CACHE": str(folder / "cache")}


def run(path, out=None):
    """The records of a run from the start; the script ends where it fails."""
    out = out or path.with_suffix("")
    done = subprocess.run(command(path, out, "--fresh"), text=True,
                          env=environment(path.parent), capture_output=True)
    if done.returncode:
        sys.exit(f"{path.stem}: exit {done.returncode}: " +
                 "\n".join(done.stderr.splitlines()[-3:]))
    with open(out / "metrics.jsonl") as lines:
        return [json.loads(line) for line in lines]


def run_measured(path):
    """Records, and the most memory (MiB) the driver counted meanwhile."""
    used, over = [0], threading.Event()

    def watch():
        while not over.wait(0.2):
            done = subprocess.run(
                ["nvidia-smi", "--query-gpu=memory.used",
                 "--format=csv,noheader,nounits"], text=True,
                capture_output=True)
            used.append(int(done.stdout.split()[0]))

    thread = threading.Thread(target=watch)
    if DEVICE != "cpu":
        thread.start()
    try:
        return run(path), max(used)
    finally:
        over.set()


def losses(records):
    return [r["loss"] for r in records if "loss" in r]


# What follows needs PyTorch and Transformers.


def encode(rows, folder, most):
    """[(ids, number of masked ones)], as hone.data.alpaca makes them."""
    import tokenizers
    tok = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    end = json.load(open(folder / "tokenizer_config.json"))["eos_token"]
    end = tok.token_to_id(end if isinstance(end, str) else end["content"])
    found = []
    for row in rows:
        given = row["instruction"], row.get("input")
        prompt = tok.encode(WITH_INPUT % given if given[1] else
                            ALONE % given[0]).ids
        answer = tok.encode(row["output"], add_special_tokens=False).ids
        found.append(((prompt + answer + [end])[:most], len(prompt)))
    return found


def row_loss(model, rows, device):
    """The summed loss of ROWS side by side, and their targets."""
    import torch
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), -100)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, (row, masked) in enumerate(rows):
        ids[i, :len(row)] = torch.tensor(row)
        labels[i, masked:len(row)] = torch.tensor(row[masked:])
        mask[i, :len(row)] = 1
    labels = labels[:, 1:].to(device)
    logits = model(input_ids=ids.to(device),
                   attention_mask=mask.to(device)).logits[:, :-1]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels.reshape(-1),
        ignore_index=-100, reduction="sum")
    return loss, int((labels != -100).sum())


def targets(rows):
    return sum(len(ids) - masked for ids, masked in rows)


def load(folder, dtype, device):
    import torch
    import transformers
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="sdpa")
    model.config.use_cache = False
    return model.to(device).train()
