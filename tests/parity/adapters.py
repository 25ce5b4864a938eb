#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""For developers: DoRA and LoRA+ against PEFT, on CPU, with models that
Transformers has written. Needs what families.py needs, bitsandbytes and xxhash.

    adapters.py BUILD    DoRA: loss and gradients of a step of PEFT's adapter
                         with magnitudes of its own; a fresh one's magnitudes;
                         a trained one in PEFT, merged in Transformers; the same
                         on a base quantised by bitsandbytes to nf4; dropout
                         with hone's random numbers put into PEFT.
                         LoRA+: three steps of AdamW, with both and with LoRA
                         alone, against create_loraplus_optimizer

Exit status 1 where numbers are more than 1e-4 apart (relative, in the L2 norm),
a loss 1e-5."""
import pathlib
import sys
import tempfile

import families
import numpy
import peft
import torch
import transformers
import xxhash
from family_cases import CASES
from peft.optimizers import create_loraplus_optimizer
from peft.utils.integrations import dequantize_module_weight
from safetensors.torch import load_file

NAMES = "llama", "qwen2", "phi3"  # biases in the second, fused projections
RATIO = 8
CHANGED = (("vector", 1.0, 0.3), ("lora_", 0.0, 0.1))


def mix(x):
    x = (x + 0x9e3779b97f4a7c15) & 2 ** 64 - 1
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9 & 2 ** 64 - 1
    x = (x ^ x >> 27) * 0x94d049bb133111eb & 2 ** 64 - 1
    return x ^ x >> 31


def philox(key, row, rows, blocks):
    """As in kernels/ops/philox.h: [rows, 4 * blocks] numbers of one row."""
    c = [numpy.arange(blocks, dtype=numpy.uint64)[None].repeat(rows, 0),
         numpy.arange(rows, dtype=numpy.uint64)[:, None].repeat(blocks, 1),
         numpy.full((rows, blocks), row, numpy.uint64),
         numpy.zeros((rows, blocks), numpy.uint64)]
    low, high = key & 0xffffffff, key >> 32
    for _ in range(10):
        a, b = c[0] * 0xd2511f53, c[2] * 0xcd9e8d57
        c = [b >> 32 ^ c[1] ^ low, b & 0xffffffff, a >> 32 ^ c[3] ^ high,
             a & 0xffffffff]
        low = low + 0x9e3779b9 & 2 ** 32 - 1
        high = high + 0xbb67ae85 & 2 ** 32 - 1
    return numpy.stack(c, -1).reshape(rows, 4 * blocks)


class Dropped(torch.nn.Module):
    """hone's dropout of seed 0 in the first step; ROW counts the rows."""
    def __init__(self, path, p, row):
        super().__init__()
        name = xxhash.xxh64_intdigest((path + ".lora_dropout").encode()) >> 12
        self.key, self.p, self.row = mix(mix(mix(0)) ^ name), p, row

    def forward(self, x):
        drawn = philox(self.key, self.row[0], x.shape[1], -(-x.shape[2] // 4))
        kept = drawn[:, :x.shape[2]] >= int(self.p * 2 ** 32)
        return x * torch.from_numpy(kept).to(x.dtype) / (1 - self.p)


def with_dropout(m, p):
    row = [-1]
    for n, module in list(m.named_modules()):
        if hasattr(module, "lora_dropout"):
            module.lora_dropout["default"] = Dropped(
                n.replace("base_model.model.", ""), p, row)

    def next_row(*_):
        row[0] += 1

    m.register_forward_pre_hook(next_row)
    return m.train()


def write_adapter(folder, dora):
    torch.manual_seed(5)
    m = peft.get_peft_model(families.load(folder / "model"), peft.LoraConfig(
        r=3, lora_alpha=5, target_modules="all-linear", use_dora=dora,
        rank_pattern={"down_proj": 2}, alpha_pattern={"self_attn.*": 9},
        task_type="CAUSAL_LM"))
    with torch.no_grad():
        for n, w in m.named_parameters():
            for word, mean, deviation in CHANGED:
                if word in n:
                    by = torch.randn_like(w) * deviation
                    w.copy_(w * (mean + by) if mean else by)
                    break
    m.save_pretrained(folder / "init")


def tensors(adapter):
    found = load_file(adapter / "adapter_model.safetensors")
    return {n.replace("base_model.model.", ""): w.double()
            for n, w in found.items()}


def apart(ours, theirs):
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    return (families.norm(ours[n] - theirs[n] for n in theirs) /
            families.norm(theirs.values()))


def plus_steps(folder, name, extra):
    """Three steps of AdamW, what they change against PEFT's. An eps of 1e-4:
    with less, numbers whose gradients are rounding alone move as well."""
    (folder / "r.lua").write_text(families.RECIPE.replace(
        "lr = 1e-2", "lr = 2e-3, eps = 1e-4, weight_decay = %s" % extra)
        .replace("steps = 1", "steps = 3, clip = 0") % (
        "model", 'adapter = hone.lora { init = "init", lr_ratio = %d },'
        % RATIO, name))
    families.hone(folder, "run", "r.lua")
    m = families.load(folder / "model", folder / "init")
    optimizer = create_loraplus_optimizer(
        m, torch.optim.AdamW, lr=2e-3, eps=1e-4, loraplus_lr_ratio=RATIO,
        loraplus_weight_decay=extra)
    data = list(families.rows(folder, 18))
    for at in range(0, 18, 6):
        families.step(m, folder, data[at:at + 6])
        optimizer.step()
        optimizer.zero_grad()
    start, theirs = tensors(folder / "init"), {
        n.replace("base_model.model.", "").replace(".default.weight", "")
        .replace(".default", ""): w.detach().double()
        for n, w in m.named_parameters() if w.requires_grad}
    theirs = {n + ".weight" if n[-7:] in (".lora_A", ".lora_B") else n: w
              for n, w in theirs.items()}
    ours = tensors(folder / name / "adapter")
    return apart({n: ours[n] - start[n] for n in ours},
                 {n: theirs[n] - start[n] for n in theirs})


def quantised(folder):
    """Of a base in nf4, which bitsandbytes unpacks right on the CPU where rows
    are whole blocks of 64: the first magnitudes, and a step's gradients."""
    families.write_model(folder, "llama", {"hidden_size": 64,
                                           "intermediate_size": 128})
    model, found = folder / "model", {}
    write_adapter(folder, True)
    m = transformers.AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, attn_implementation="eager",
        quantization_config=transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32))
    fresh = peft.get_peft_model(m, peft.LoraConfig(
        target_modules="all-linear", use_dora=True, task_type="CAUSAL_LM"))
    theirs = {n.replace("base_model.model.", "").replace(".default.weight", ""):
              w.detach().double() for n, w in fresh.named_parameters()
              if "magnitude" in n}
    (folder / "r.lua").write_text(families.RECIPE.replace(
        "lr = 1e-2", "lr = 0") % (
        'model", storage = "nf4', "adapter = hone.lora { dora = true },",
        "nf4"))
    families.hone(folder, "run", "r.lua")
    found["start"] = apart({n: w for n, w in
                            tensors(folder / "nf4/adapter").items()
                            if "magnitude" in n}, theirs)
    # Its products are not those of fp32: the same numbers in a plain model.
    plain = families.load(model)
    held = dict(fresh.unload().named_modules())
    with torch.no_grad():
        for n, module in plain.named_modules():
            if hasattr(getattr(held[n], "weight", None), "quant_state"):
                module.weight.copy_(dequantize_module_weight(held[n]))
    m = peft.PeftModel.from_pretrained(plain, folder / "init",
                                       is_trainable=True)
    found["dora loss"], found["dora grads"] = families.check_step(
        folder, m, 'model", storage = "nf4', 'adapter = hone.lora { '
        'init = "init" },', "run")
    return found


def compare(folder, family, keys):
    families.write_model(folder, family, keys)
    model, found = folder / "model", {}
    write_adapter(folder, False)
    found["lora+"] = plus_steps(folder, "plus", 0.1)
    write_adapter(folder, True)
    found["dora loss"], found["dora grads"] = families.check_step(
        folder, families.load(model, folder / "init"), "model",
        'adapter = hone.lora { init = "init" },', "run")
    found["dropout loss"], found["dropout grads"] = families.check_step(
        folder, with_dropout(families.load(model, folder / "init"), 0.3),
        "model", 'adapter = hone.lora { init = "init", dropout = 0.3 },',
        "dropped")
    adapter = folder / "run/adapter"
    found["adapter"] = families.check_logits(
        folder, families.load(model, adapter), model, adapter)
    families.hone(folder, "export", "run", "--to", "merged", "--out", "merged")
    found["merged"] = families.check_logits(
        folder, families.load(folder / "merged"), model, adapter)
    found["dora+"] = plus_steps(folder, "doraplus", 0)
    (folder / "r.lua").write_text(families.RECIPE.replace(
        "lr = 1e-2", "lr = 0") % (
        "model", "adapter = hone.lora { dora = true },", "fresh"))
    families.hone(folder, "run", "r.lua")
    base = {n: w.double() for n, w in
            families.load(model).named_parameters()}
    magnitudes = {n: w for n, w in tensors(folder / "fresh/adapter").items()
                  if "magnitude" in n}
    found["start"] = apart(magnitudes, {
        n: base[n.replace("lora_magnitude_vector", "weight")].norm(dim=1)
        .detach() for n in magnitudes})
    return found


def main():
    bad = 0
    for name in [*NAMES, "nf4"]:
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary) / "tiny"
            found = (quantised(folder) if name == "nf4" else
                     compare(folder, *CASES[name]))
        worst = [k for k, v in found.items()
                 if not v <= (1e-5 if "loss" in k else 1e-4)]
        print("%-8s" % name, " ".join("%s %.1e" % i for i in found.items()),
              "BAD: " + ", ".join(worst) if worst else "", flush=True)
        bad += bool(worst)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
