#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gradients.py MODEL: section `gradients` of tests/gpu/run. How far the
gradients of one step are from those of Transformers in double precision on the
CPU, in the L2 norm over all tensors: hone's on the card in fp32 and bf16,
hone's on the CPU, and Transformers' in fp32 and in bf16, with bf16 weights and
with fp32 weights under autocast. All start from the same weights, so MODEL
holds them in bf16. hone's on the card may be 1.2 times as far as Transformers'
in fp32, or in bf16 with bf16 weights.

In double its norms and the loss are computed in double, too: as they are,
Transformers rounds them to fp32, which is most of the error of its fp32.

Of the whole model and of LoRA (r 16 on all linears, B not zero; the factors in
fp32 and under autocast, as PEFT has them). What rounding does to gradients
depends on the adapter, by half up or down: it is the root mean square over
ADAPTERS of them."""
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import runs

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))

import compare
import torch
from safetensors.torch import save_file

MODEL = pathlib.Path(sys.argv[1]).resolve()
ROWS = int(os.environ.get("ROWS", 8))
ADAPTERS = int(os.environ.get("ADAPTERS", 6))
MOST = 512


def hone(folder, name, device, precision, adapter):
    path = runs.recipe(
        folder / f"{name}.lua", device=f'"{device}"',
        model=f'hone.model {{ "{MODEL}", storage = "%s" }}' %
        ("fp32" if precision == "fp32" else "file"),
        adapter=adapter and f'hone.lora {{ init = "{adapter}" }}',
        data=f'hone.data.alpaca {{ "rows.json", max_tokens = {MOST} }}',
        batch="hone.pad { rows = 4 }", precision=f'"{precision}"',
        global_batch=ROWS, steps=1, shuffle="false")
    out = folder / f"{name}.safetensors"
    dump = runs.HONE.with_name("parity_dump")
    done = subprocess.run([dump, "grads", path, out], text=True,
                          env=runs.environment(folder), capture_output=True)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr.splitlines()[-1:]}")
    return compare.read(out)


def norm_in_double(self, x):
    scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
    return self.weight * (x * scale)


def transformers(folder, rows, device, weights, adapter, autocast=False):
    model = runs.load(MODEL, weights, device)
    for module in model.modules():
        if weights == "float64" and type(module).__name__.endswith("RMSNorm"):
            module.forward = norm_in_double.__get__(module)
    if adapter:
        import peft
        model = peft.PeftModel.from_pretrained(model, adapter,
                                               is_trainable=True)
    for at in range(0, len(rows), 4):
        with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
            loss, _ = runs.row_loss(model, rows[at:at + 4], device)
        (loss / runs.targets(rows)).backward()
    out = folder / f"transformers-{device}-{weights}.safetensors"
    save_file({n: w.grad.float().cpu().contiguous() for n, w in
               model.named_parameters() if w.grad is not None}, out)
    return compare.read(out)


def write_adapter(folder, seed):
    import peft
    torch.manual_seed(seed)
    model = peft.get_peft_model(
        runs.load(MODEL, "float32", "cpu"),
        peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear",
                        task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.01)
    model.save_pretrained(folder / f"init-{seed}")
    return folder / f"init-{seed}"


def apart(want, other, kind):
    if other.keys() != want.keys():
        sys.exit(f"{kind}: other tensors: {other.keys() ^ want.keys()}")
    return compare.norm(other[n] - want[n] for n in want) / \
        compare.norm(want.values())


def check(folder, rows, kind, adapters=(None,)):
    """Of all ADAPTERS; of what is in fp32 the first will do."""
    want = [transformers(folder, rows, "cpu", "float64", a) for a in adapters]

    def line(who, gradients, bound=None, count=None):
        off = math.sqrt(statistics.mean(
            apart(w, gradients(a), kind) ** 2
            for w, a in list(zip(want, adapters))[:count]))
        runs.verdict(f"{kind}: {who}", f"{off:.3e}",
                     None if bound is None else off <= bound)
        return off

    def rival(device, weights, autocast=False):
        return lambda a: transformers(folder, rows, device, weights, a,
                                      autocast)

    def own(device, precision):
        return lambda a: hone(folder, f"{device}-{precision}", device,
                              precision, a)

    bound = line("Transformers, CPU", rival("cpu", "float32"), count=1)
    line("hone, CPU", own("cpu", "fp32"), 1e-4, count=1)
    card = "fp32" if runs.DEVICE == "cpu" else "bf16"
    if card == "bf16":
        line("hone, fp32", own(runs.DEVICE, "fp32"), 1.2 * bound, count=1)
    if adapters[0] is None:
        line("Transformers, autocast", rival(runs.DEVICE, "float32", True))
    bound = line("Transformers, bf16", rival(runs.DEVICE, "bfloat16",
                                             adapters[0] is not None))
    line("hone, bf16", own(runs.DEVICE, card), 1.2 * bound)


def main(folder):
    rows = runs.write_rows(folder / "rows.json", 0, ROWS)
    rows = runs.encode(rows, MODEL, MOST)
    check(folder, rows, "whole model")
    check(folder, rows, "LoRA", [write_adapter(folder, seed)
                                 for seed in range(1, 1 + ADAPTERS)])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hone-gradients-") as temporary:
        main(pathlib.Path(temporary))
    runs.finish()
