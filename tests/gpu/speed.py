#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What section `speed` of tests/gpu/run needs from Python.

speed.py make SHAPE FOLDER TOKENIZER    a checkpoint of models.py
speed.py rows FILE COUNT LENGTH         rows of ids for hone.data.tokenized
speed.py alpaca FILE TOKENIZER          the same of the material's Alpaca rows
speed.py rival WHO FOLDER METHOD CASE...   NAME:ROWS:LENGTH:STEPS; a line for
                     each: tokens/s, MiB, first step; the smallest come first
speed.py hone FOLDER                    the same line from a run of hone

WHO: transformers (with PEFT), liger, unsloth, deepspeed (ZeRO-2, fp32 AdamW in
host memory). METHOD: lora (r 16 on all seven linears), lora-recomputed, qlora
(NF4 weights, recomputed; by unsloth) or full. LENGTH: or a file of rows, in
their order, two side by side, padded to the longer. Rivals keep activations
where nothing else is said, compute in bf16 and update with fused AdamW in the
dtype of what they train. Of STEPS, hone's and theirs, the first three (of eight
or fewer: the first) and the last are not timed. Steps that are all equal take
the median of their times.
"""
import json
import os
import pathlib
import random
import statistics
import sys
import time

START = time.time()
TIMED = 6  # steps of a rival, where all are equal
PATIENCE = 60  # seconds of a rival's case, behind its fifth timed step


def make(shape, folder, tokenizer):
    import models
    models.write(pathlib.Path(folder), models.SHAPES[shape], tokenizer)


def timed(steps):
    """The first step that counts, and the one behind the last."""
    return 3 if steps > 8 else 1, steps - 1


def rows(file, count, length):
    draw = random.Random(0)
    with open(file, "w") as out:
        for _ in range(count):
            ids = [draw.randrange(1, 1024) for _ in range(length)]
            out.write(json.dumps({"input_ids": ids}) + "\n")


def alpaca(file, tokenizer):
    import runs
    rows = json.load(open(runs.material(
        "instruct/llamafactory/alpaca_en_demo.json")))
    with open(file, "w") as out:
        for ids, masked in runs.encode(rows, pathlib.Path(tokenizer), 2048):
            out.write(json.dumps({
                "input_ids": ids,
                "labels": [-100] * masked + ids[masked:]}) + "\n")


def load(who, folder, method, length):
    import torch
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
               "down_proj"]
    if who == "unsloth":
        from unsloth import FastLanguageModel
        model, _ = FastLanguageModel.from_pretrained(
            folder, max_seq_length=max(length, 2048), dtype=torch.bfloat16,
            load_in_4bit=method == "qlora", full_finetuning=method == "full",
            local_files_only=True)
        return model if method == "full" else FastLanguageModel.get_peft_model(
            model, r=16, lora_alpha=16, lora_dropout=0, bias="none",
            target_modules=targets, use_gradient_checkpointing=False
            if method == "lora" else "unsloth")
    if who == "liger":
        from liger_kernel import transformers as liger
        auto = liger.AutoLigerKernelForCausalLM
    else:
        from transformers import AutoModelForCausalLM as auto
    model = auto.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="sdpa",
        device_map=None if who == "deepspeed" else {"": 0})
    model.config.use_cache = False
    if method == "lora":
        import peft
        model = peft.get_peft_model(model, peft.LoraConfig(
            r=16, lora_alpha=16, target_modules=targets,
            task_type="CAUSAL_LM"))
    return model


def say(name, tokens, seconds, used, first):
    """TOKENS and SECONDS of steps."""
    rate = tokens[0] / statistics.median(seconds) if len(set(tokens)) == 1 \
        else sum(tokens) / sum(seconds)
    print(f"{name}{rate:.0f} tokens/s, {used} MiB used" +
          (f", first step after {first:.1f} s" if first else ""), flush=True)


def batches(count, length):
    """Without end: micro-batches (ids, labels, mask) and real tokens of a
    step."""
    import torch
    if isinstance(length, int):
        while True:
            ids = torch.randint(1, 1024, (count, length), device="cuda")
            yield [(ids, ids, None)], count * length
    rows = [json.loads(line) for line in open(length)]
    for at in range(0, len(rows), count):
        part = rows[at:at + count]
        micros = []
        for i in range(0, len(part), 2):
            two = part[i:i + 2]
            longest = max(len(r["input_ids"]) for r in two)
            micros.append([torch.tensor(
                [f(r) + [fill] * (longest - len(r["input_ids"])) for r in two],
                device="cuda") for f, fill in (
                    (lambda r: r["input_ids"], 0),
                    (lambda r: r["labels"], -100),
                    (lambda r: [1] * len(r["input_ids"]), 0))])
        yield micros, sum(len(r["input_ids"]) for r in part)


def plain(model):
    """A step of AdamW: the mean gradient of micro-batches, clipped."""
    import torch
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=1e-4, fused=True)

    def step(micros):
        for ids, labels, mask in micros:
            more = {} if mask is None else {"attention_mask": mask}
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = model(input_ids=ids, labels=labels, **more).loss
            (loss / len(micros)).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return step


def zero(model, rows):
    """The same by DeepSpeed, its optimizer in host memory."""
    import deepspeed
    model.gradient_checkpointing_enable(
        gradient_checkpointing_kwargs={"use_reentrant": False})
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=model.parameters(), config={
            "train_micro_batch_size_per_gpu": rows,
            "gradient_accumulation_steps": 1, "gradient_clipping": 1.0,
            "bf16": {"enabled": True}, "steps_per_print": 1 << 30,
            "optimizer": {"type": "AdamW", "params": {"lr": 1e-5}},
            "zero_optimization": {
                "stage": 2, "overlap_comm": True, "contiguous_gradients": True,
                "offload_optimizer": {"device": "cpu", "pin_memory": True}}})

    def step(micros):
        (ids, labels, _), = micros
        engine.backward(engine(input_ids=ids, labels=labels).loss)
        engine.step()
    return step


def read_case(text):
    name, rows, length, steps = text.split(":")
    return (name, int(rows), int(length) if length.isdigit() else length,
            int(steps))


def size(case):
    return case[1] * case[2] if isinstance(case[2], int) else 0


def rival(who, folder, method, *cases):
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if who == "deepspeed":
        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0",
                          MASTER_ADDR="127.0.0.1", MASTER_PORT="29511")
    if who == "unsloth":
        import unsloth  # before anything that it changes
    import torch
    cases = sorted(map(read_case, cases), key=size)
    model = load(who, folder, method, max(
        c[2] if isinstance(c[2], int) else 0 for c in cases))
    model.train()
    step = zero(model, cases[0][1]) if who == "deepspeed" else plain(model)
    first = None
    for case in cases:
        torch.cuda.empty_cache()
        _, rows, length, steps = case
        source, tokens, seconds = batches(rows, length), [], []
        begin, end = timed(steps)
        if isinstance(length, int):
            end = min(end, begin + TIMED)
        for _ in range(end):
            if sum(seconds) > PATIENCE and len(seconds) >= begin + 5:
                break
            micros, count = next(source)
            torch.cuda.synchronize()
            start = time.time()
            step(micros)
            torch.cuda.synchronize()
            seconds.append(time.time() - start)
            tokens.append(count)
            first = first or time.time() - START
        free, total = torch.cuda.mem_get_info()
        say(f"{case[0]:<12} {who:<14} ", tokens[begin:], seconds[begin:],
            (total - free) >> 20, first if case is cases[0] else None)


def hone(folder):
    folder = pathlib.Path(folder)
    lines = [json.loads(l) for l in open(folder / "metrics.jsonl")]
    steps = [l for l in lines if "loss" in l]
    steps = steps[slice(*timed(len(steps)))]
    used = [int(l) for l in open(folder.with_suffix(".memory")) if l.strip()]
    first = float(folder.with_suffix(".first").read_text())
    say("", [s["tokens"] for s in steps], [s["time_s"] for s in steps],
        max(used, default=0), first)


if __name__ == "__main__":
    verb, args = sys.argv[1], [int(a) if a.isdigit() else a
                               for a in sys.argv[2:]]
    {"make": make, "rows": rows, "alpaca": alpaca, "rival": rival,
     "hone": hone}[verb](*args)
