#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""heldout.py MODEL: section `heldout` of tests/gpu/run. The held-out loss after
200 steps on GSM8K, three seeds (of order and new weights) each.

hone's mean is no further from that of Transformers (PEFT, bitsandbytes) in the
same mode than the seeds of either are from each other. With FP8 weights, which
have no such peer, it is at most 0.5 % above hone's own with bf16 weights, if
that mode is run before, or within the spread of seeds; beside LoRA's what PEFT
makes of the adapters of both on the bf16 weights. MODES="bf16 fp8 nf4": which of those below; JOBS=4: runs beside each
other. A mode's lines come when it is done: what fails ends its mode alone."""
import concurrent.futures
import importlib.util
import json
import math
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

import runs

MODEL = pathlib.Path(sys.argv[1]).resolve()
STEPS = int(os.environ.get("STEPS", 200))
HELD = int(os.environ.get("HELD", 256))
SEEDS = range(int(os.environ.get("SEEDS", 3)))
JOBS = int(os.environ.get("JOBS", 4))
BATCH, WARMUP, MOST = 8, 0.05, 512
RATE = {"lora": 5e-4, "dora": 5e-4, "loraplus": 1.25e-4, "full": 5e-5}
# In hone: method, storage, precision, state of AdamW. And the peer: what must
# be there, the type of its weights, that of autocast.
RATIO = 8  # of LoRA+, at a quarter of LoRA's rate
LORA = {"lora": "", "dora": ", dora = true",
        "loraplus": f", lr_ratio = {RATIO}"}
MODES = {
    "bf16": ("lora", "bf16", "bf16", "fp32", "peft", "bfloat16", "bfloat16"),
    "fp8": ("lora", "fp8", "bf16", "fp32", None, None, None),
    "nf4": ("lora", "nf4", "bf16", "fp32", "bitsandbytes", "nf4", "bfloat16"),
    "fp32": ("lora", "fp32", "fp32", "fp32", "peft", "float32", None),
    "fp16": ("lora", "bf16", "fp16", "fp32", "peft", "bfloat16", "float16"),
    "dora": ("dora", "bf16", "bf16", "fp32", "peft", "bfloat16", "bfloat16"),
    "nf4-dora": ("dora", "nf4", "bf16", "fp32", "bitsandbytes", "nf4",
                 "bfloat16"),
    "loraplus": ("loraplus", "bf16", "bf16", "fp32", "peft", "bfloat16",
                 "bfloat16"),
    "int8": ("lora", "bf16", "bf16", "int8", "bitsandbytes", "bfloat16",
             "bfloat16"),
    "full": ("full", "bf16", "bf16", "fp32", "transformers", "float32",
             "bfloat16"),
    "full-int8": ("full", "bf16", "bf16", "int8", "bitsandbytes", "float32",
                  "bfloat16"),
    "nf4-int8": ("lora", "nf4", "bf16", "int8", "bitsandbytes", "nf4",
                 "bfloat16"),
    "fp16-int8": ("lora", "bf16", "fp16", "int8", "bitsandbytes", "bfloat16",
                  "float16"),
    "fp32-int8": ("lora", "fp32", "fp32", "int8", "bitsandbytes", "float32",
                  None),
    "fp8-int8": ("lora", "fp8", "bf16", "int8", None, None, None),
    "dora-fp32": ("dora", "fp32", "fp32", "fp32", "peft", "float32", None),
    "dora-fp16": ("dora", "bf16", "fp16", "fp32", "peft", "bfloat16",
                  "float16"),
    "dora-fp8": ("dora", "fp8", "bf16", "fp32", None, None, None),
    "full-fp32": ("full", "fp32", "fp32", "fp32", "transformers", "float32",
                  None),
    "full-fp16": ("full", "bf16", "fp16", "fp32", "transformers", "float32",
                  "float16"),
}
# What has no peer is held against hone's own in bf16, where that is run too.
OWN = {"fp8": "bf16", "dora-fp8": "dora", "fp8-int8": "int8"}


def hone(folder, mode, seed):
    """Held-out losses before and after a run."""
    method, storage, precision, state, *_ = MODES[mode]
    adapter = "hone.lora { r = 16, alpha = 32%s }" % LORA.get(method, "")
    path = runs.recipe(
        folder / f"{mode}-{seed}.lua",
        model=f'hone.model {{ "{MODEL}", storage = "{storage}" }}',
        adapter=adapter if method in LORA else None,
        precision=None if runs.DEVICE == "cpu" else f'"{precision}"',
        data=f'hone.data.alpaca {{ "rows.json", val = {HELD}, '
        f'max_tokens = {MOST} }}', batch="hone.pack { tokens = 2048 }",
        optimizer=f'hone.adamw {{ lr = {RATE[method]}, state = "{state}" }}',
        schedule=f"hone.cosine {{ warmup = {WARMUP} }}",
        global_batch=BATCH, steps=STEPS, seed=seed)
    found = [r["eval_loss"] for r in runs.run(path) if "eval_loss" in r]
    return found[0], found[-1]


def load(method, weights):
    import torch
    import transformers
    if weights == "nf4":
        transformers.utils.logging.set_verbosity_error()
        model = transformers.AutoModelForCausalLM.from_pretrained(
            MODEL, dtype=torch.bfloat16, device_map={"": runs.DEVICE},
            quantization_config=transformers.BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.bfloat16))
        model.config.use_cache = False
    else:
        model = runs.load(MODEL, weights, runs.DEVICE)
    if method == "full":
        return model
    import peft
    return peft.get_peft_model(model, peft.LoraConfig(
        r=16, lora_alpha=32, use_dora=method == "dora", target_modules=[
            "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
            "down_proj"], task_type="CAUSAL_LM")).train()


def autocast(kind):
    import torch
    return torch.autocast(runs.DEVICE, enabled=kind is not None,
                          dtype=getattr(torch, kind or "bfloat16"))


def evaluate(model, rows, kind):
    import torch
    total = 0.0
    model.eval()
    with torch.no_grad(), autocast(kind):
        for at in range(0, len(rows), 16):
            total += float(runs.row_loss(model, rows[at:at + 16],
                                         runs.DEVICE)[0])
    model.train()
    return total / runs.targets(rows)


def optimizer_of(method, state, model, weights):
    import torch
    rate = RATE[method]
    if method == "loraplus":
        from peft.optimizers import create_loraplus_optimizer
        return create_loraplus_optimizer(model, torch.optim.AdamW, lr=rate,
                                         loraplus_lr_ratio=RATIO)
    if state != "int8":
        return torch.optim.AdamW(weights, lr=rate, weight_decay=0)
    import bitsandbytes
    return bitsandbytes.optim.AdamW8bit(weights, lr=rate, weight_decay=0)


def rival(mode, file, seed):
    """A process of its own: Transformers on the same rows."""
    import torch
    import transformers
    method, _, _, state, _, kept, cast = MODES[mode]
    rows = runs.encode(json.load(open(file)), MODEL, MOST)
    held, rows = rows[-HELD:], rows[:-HELD]
    torch.manual_seed(seed)
    random.Random(seed).shuffle(rows)
    model = load(method, kept)
    weights = [w for w in model.parameters() if w.requires_grad]
    optimizer = optimizer_of(method, state, model, weights)
    rate = transformers.get_cosine_schedule_with_warmup(
        optimizer, math.ceil(WARMUP * STEPS), STEPS)
    scaler = torch.amp.GradScaler(runs.DEVICE, enabled=cast == "float16")
    first = evaluate(model, held, cast)
    for step in range(STEPS):
        part = rows[step * BATCH:(step + 1) * BATCH]
        with autocast(cast):
            loss, targets = runs.row_loss(model, part, runs.DEVICE)
        scaler.scale(loss / targets).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        scaler.step(optimizer)
        scaler.update()
        rate.step()
        optimizer.zero_grad(set_to_none=True)
    print(json.dumps([first, evaluate(model, held, cast)]))


def judge(folder, mode):
    """The held-out losses of hone's adapters on the weights of the files."""
    import peft
    rows = runs.encode(json.load(open(folder / "rows.json")), MODEL, MOST)
    found = []
    for seed in SEEDS:
        model = peft.PeftModel.from_pretrained(
            runs.load(MODEL, "bfloat16", runs.DEVICE),
            folder / f"{mode}-{seed}" / "adapter")
        found.append((None, evaluate(model, rows[-HELD:], "bfloat16")))
    return found


def peer(folder, mode, seed):
    """Transformers on the same rows, a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, str(MODEL), mode, str(folder / "rows.json"),
         str(seed)], text=True, capture_output=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"})
    if done.returncode:
        sys.exit(f"Transformers, {mode}: {done.stderr.splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def start(pool, folder, mode):
    """What runs for a mode: those of the peer, which take longer, and ours."""
    module = MODES[mode][4]
    return [[pool.submit(run, folder, mode, seed) for seed in SEEDS]
            for run in ((peer,) if module and importlib.util.find_spec(module)
                        else ()) + (hone,)]


def spread(found):
    last = [last for _, last in found]
    return max(last) - min(last)


def mean(found):
    return statistics.mean(last for _, last in found)


def near(found, other):
    """At most 0.5 % above, or by no more than seeds are apart."""
    return mean(found) - mean(other) <= max(0.005 * mean(other), spread(found),
                                            spread(other))


def line(name, found, good=None):
    first = found[0][0]
    runs.verdict(name, "%s%s, mean %.5f" % (
        f"{first:.5f} -> " if first else "",
        " ".join(f"{last:.5f}" for _, last in found), mean(found)), good)


def main(folder):
    modes = os.environ.get("MODES", "bf16 fp8 nf4").split()
    runs.write_rows(folder / "rows.json", 0, STEPS * BATCH + HELD)
    ours = {}
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        started = {mode: start(pool, folder, mode) for mode in modes}
        for mode in modes:
            try:
                *other, found = [[f.result() for f in all_]
                                 for all_ in started[mode]]
            except SystemExit as why:
                runs.verdict(mode, str(why), False)
                continue
            ours[mode], good = found, None
            if other:
                line(f"Transformers, {mode}", other[0])
                good = abs(mean(found) - mean(other[0])) <= max(
                    spread(found), spread(other[0]))
            elif OWN.get(mode) in ours:
                good = near(found, ours[OWN[mode]])
            line(f"hone, {mode}", found, good)
    if "fp8" in ours and "bf16" in ours and \
            importlib.util.find_spec("peft"):
        judged = {mode: judge(folder, mode) for mode in ("bf16", "fp8")}
        for mode, found in judged.items():
            line(f"PEFT with the adapters of {mode}", found)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        rival(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        sys.exit()
    with tempfile.TemporaryDirectory(prefix="hone-heldout-") as temporary:
        main(pathlib.Path(temporary))
    runs.finish()
