#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What section `speed` of tests/gpu/run needs from Python.

speed.py make GEOMETRY FOLDER TOKENIZER   a checkpoint of that shape, random
speed.py rows FILE COUNT LENGTH           rows of ids for hone.data.tokenized
speed.py alpaca FILE TOKENIZER            the same of the material's Alpaca rows
speed.py rival WHO FOLDER METHOD ROWS LENGTH   a line: tokens/s, MiB, first step
speed.py hone FOLDER                      the same line from a run of hone

WHO: transformers (with PEFT), liger, unsloth. METHOD: lora (r 16 on all seven
linears), qlora (the same on NF4 weights, by unsloth) or full. LENGTH: or a file
of rows, in their order, two side by side, padded to the longer. Every rival
keeps its activations, but recomputes them with qlora; it computes in bf16 and
updates with fused AdamW in the dtype of what it trains.
"""
import json
import os
import pathlib
import random
import shutil
import sys
import time

START = time.time()
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
# hidden, intermediate, layers, heads, kv heads, vocabulary, tied
SHAPES = {
    "llama-2-7b": ("Llama", 4096, 11008, 32, 32, 32, 32000, False),
    "llama-8b": ("Llama", 4096, 14336, 32, 32, 8, 128256, False),
    "llama-1b": ("Llama", 2048, 8192, 16, 32, 8, 128256, True),
    "qwen-0.6b": ("Qwen3", 1024, 3072, 28, 16, 8, 151936, True),
    "smollm-135m": ("Llama", 576, 1536, 30, 9, 3, 49152, True),
}


def make(shape, folder, tokenizer):
    import torch
    import transformers
    kind, hidden, inner, layers, heads, kv, vocab, tied = SHAPES[shape]
    extra = {"max_position_embeddings": 8192}
    if kind == "Qwen3":
        extra["head_dim"] = 128
    if shape == "llama-8b":
        extra = {"max_position_embeddings": 131072, "rope_scaling": LLAMA3}
    config = getattr(transformers, kind + "Config")(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv, vocab_size=vocab,
        tie_word_embeddings=tied, rms_norm_eps=1e-5, bos_token_id=None,
        eos_token_id=0, **extra)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    for file in pathlib.Path(tokenizer).glob("tokenizer*.json"):
        shutil.copy(file, folder)


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
            target_modules=targets, use_gradient_checkpointing="unsloth"
            if method == "qlora" else False)
    if who == "liger":
        from liger_kernel.transformers import AutoLigerKernelForCausalLM as Auto
    else:
        from transformers import AutoModelForCausalLM as Auto
    model = Auto.from_pretrained(folder, dtype=torch.bfloat16,
                                 attn_implementation="sdpa",
                                 device_map={"": 0})
    model.config.use_cache = False
    if method == "lora":
        import peft
        model = peft.get_peft_model(model, peft.LoraConfig(
            r=16, lora_alpha=16, target_modules=targets,
            task_type="CAUSAL_LM"))
    return model


def say(tokens, seconds, used, first):
    print(f"{tokens / seconds:.0f} tokens/s, {used} MiB used, first step after "
          f"{first:.1f} s", flush=True)


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


def rival(who, folder, method, count, length):
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    if who == "unsloth":
        import unsloth  # before anything that it changes
    import torch
    model = load(who, folder, method, length if isinstance(length, int) else 0)
    model.train()
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=1e-4, fused=True)
    source = batches(count, length)

    def step():
        micros, tokens = next(source)
        for ids, labels, mask in micros:
            more = {} if mask is None else {"attention_mask": mask}
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = model(input_ids=ids, labels=labels, **more).loss
            (loss / len(micros)).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        return tokens

    step()
    first = time.time() - START
    step()
    step()
    begin, tokens = time.time(), 0
    for _ in range(6 if isinstance(length, int) else 24):
        tokens += step()
    seconds = time.time() - begin
    free, total = torch.cuda.mem_get_info()
    say(tokens, seconds, (total - free) >> 20, first)


def hone(folder):
    """Steps behind the third, as the rivals' are timed."""
    folder = pathlib.Path(folder)
    lines = [json.loads(l) for l in open(folder / "metrics.jsonl")]
    steps = [l for l in lines if "loss" in l][3:-1]
    used = [int(l) for l in open(folder.with_suffix(".memory")) if l.strip()]
    first = float(folder.with_suffix(".first").read_text())
    say(sum(s["tokens"] for s in steps), sum(s["time_s"] for s in steps),
        max(used, default=0), first)


if __name__ == "__main__":
    verb, args = sys.argv[1], [int(a) if a.isdigit() else a
                               for a in sys.argv[2:]]
    {"make": make, "rows": rows, "alpaca": alpaca, "rival": rival,
     "hone": hone}[verb](*args)
