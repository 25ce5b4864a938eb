#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""For developers: every family of tests/family_cases.py against Transformers
and PEFT, on CPU. Needs torch, transformers, peft, tokenizers, safetensors.

    families.py BUILD            random weights that Transformers has written:
                                 logits; loss and gradients of a whole and of a
                                 LoRA step; the adapter in PEFT, merged weights
                                 in Transformers
    families.py BUILD --golden   Transformers' numbers for the first step of the
                                 runs of test_families.py: the loss, gradient
                                 norms whole, with LoRA, of some with DoRA; for
                                 tests/parity/families.json

Exit status 1 where logits are more than 1e-4 apart, a loss 1e-5 or the
gradients 1e-4 (relative, in the L2 norm)."""
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
warnings.simplefilter("ignore")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy
import peft
import tokenizers
import torch
import transformers
from safetensors.torch import load_file

import test_families
import test_models_page
import tiny_run
from family_cases import CASES

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
BUILD = os.path.abspath(sys.argv[1])
SEEDS = numpy.random.RandomState(7)
IDS = [SEEDS.randint(3, 40, size=n).tolist() for n in (40, 1, 17)]
RECIPE = """local hone = require "hone"
return hone.train {
  model = hone.model { "%s" }, %s
  data = hone.data.alpaca { "rows.jsonl" }, batch = hone.pack { tokens = 2048 },
  optimizer = hone.adamw { lr = 1e-2 }, global_batch = 6, steps = 1,
  shuffle = false, device = "cpu", out = "%s",
}
"""
HEAD = ("Below is an instruction that describes a task. Write a response that "
        "appropriately completes the request.\n\n### Instruction:\n%s\n\n"
        "### Response:\n")


def load(folder, adapter=None):
    m = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager")
    if adapter:
        m = peft.PeftModel.from_pretrained(m, adapter, is_trainable=True)
    return m


def hone(folder, *arguments):
    done = subprocess.run(
        [os.path.join(BUILD, "bin/hone"), *map(str, arguments)], cwd=folder,
        env=dict(os.environ, HONE_CACHE=str(folder / "cache")), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout


def dump(*arguments):
    subprocess.run([os.path.join(BUILD, "bin/parity_dump"),
                    *map(str, arguments)], check=True)


def rows(folder, count=6):
    """Ids and the number of masked ones of the first rows, as in a run."""
    tok = tokenizers.Tokenizer.from_file(str(folder / "model/tokenizer.json"))
    for line in list(open(folder / "rows.jsonl"))[:count]:
        row = json.loads(line)
        prompt = tok.encode(HEAD % row["instruction"]).ids
        answer = tok.encode(row["output"], add_special_tokens=False).ids
        yield prompt + answer + [2], len(prompt)


def step(m, folder, data=None):
    """Transformers' loss of the first step, or of DATA; gradients stay in M."""
    data = data or list(rows(folder))
    targets = sum(len(ids) - masked for ids, masked in data)
    loss = 0.0
    for ids, masked in data:
        out = m(input_ids=torch.tensor([ids])).logits[0]
        part = torch.nn.functional.cross_entropy(
            out[masked - 1:-1], torch.tensor(ids[masked:]), reduction="sum")
        (part / targets).backward()
        loss += float(part.detach()) / targets
    return loss


def gradients(m):
    return {n.replace("base_model.model.", "").replace(
        ".modules_to_save.default", "").replace(
        "vector.default.weight", "vector").replace(".default", ""):
            w.grad.double() for n, w in m.named_parameters()
            if w.grad is not None}


def norm(tensors):
    return math.sqrt(sum(float((t * t).sum()) for t in tensors))


def check_step(folder, m, model, extra, name):
    (folder / "r.lua").write_text(RECIPE % (model, extra, name))
    hone(folder, "run", "r.lua")
    metrics = (folder / name / "metrics.jsonl").read_text().splitlines()
    got = [json.loads(x)["loss"] for x in metrics if '"loss"' in x][0]
    dump("grads", folder / "r.lua", folder / "grads.safetensors")
    want = step(m, folder)
    ours = {n.replace("base_model.model.", ""): g.double() for n, g in
            load_file(folder / "grads.safetensors").items()}
    theirs = gradients(m)
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    off = norm(ours[n] - theirs[n] for n in theirs) / norm(theirs.values())
    return abs(got - want) / want, off


def check_logits(folder, m, model, adapter="-"):
    (folder / "ids").write_text("".join(" ".join(map(str, i)) + "\n"
                                        for i in IDS))
    dump("logits", model, adapter, folder / "ids", folder / "logits")
    got = numpy.fromfile(folder / "logits", dtype=numpy.float32)
    with torch.no_grad():
        want = numpy.concatenate([m(input_ids=torch.tensor([row])).logits[0]
                                  for row in IDS])
    return float(abs(got.reshape(want.shape) - want).max())


def write_model(folder, family, keys):
    """A model with every tensor at random, norms and biases too."""
    model = folder / "model"
    tiny_run.main(folder)
    config = json.loads((model / "config.json").read_text())
    config = {**config, "model_type": family, **keys}
    del config["architectures"]
    (model / "config.json").write_text(json.dumps(config))
    torch.manual_seed(3)
    m = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.from_pretrained(model),
        attn_implementation="eager").float()
    with torch.no_grad():
        for w in m.parameters():
            w.normal_(1.0 if w.dim() == 1 else 0.0, 0.15)
    m.save_pretrained(model)


def write_adapter(folder):
    torch.manual_seed(4)
    base = load(folder / "model")
    # PEFT unties what is tied: that is not the same training.
    tied = base.config.tie_word_embeddings
    saved = None if tied else ["embed_tokens", "lm_head", "model.norm"]
    m = peft.get_peft_model(base, peft.LoraConfig(
        modules_to_save=saved,
        r=3, lora_alpha=5, target_modules="all-linear", use_rslora=True,
        rank_pattern={r"layers\.\d\.mlp\.(gate_)?up_proj": 5, "down_proj": 2},
        alpha_pattern={"self_attn.*": 9, "layers.1.mlp.down_proj": 3},
        task_type="CAUSAL_LM"))
    with torch.no_grad():
        for n, w in m.named_parameters():
            if "lora_" in n:
                w.normal_(0, 0.1)
            elif "modules_to_save" in n:
                w.mul_(1.1)
    m.save_pretrained(folder / "init")


def compare(folder, family, keys):
    write_model(folder, family, keys)
    write_adapter(folder)
    model = folder / "model"
    found = {"logits": check_logits(folder, load(model), model)}
    found["loss"], found["grads"] = check_step(folder, load(model), "model",
                                               "", "full")
    found["lora loss"], found["lora grads"] = check_step(
        folder, load(model, folder / "init"), "model",
        'adapter = hone.lora { init = "init" },', "run")
    adapter = folder / "run/adapter"
    found["adapter"] = check_logits(folder, load(model, adapter), model,
                                    adapter)
    hone(folder, "export", "run", "--to", "merged", "--out", "merged")
    found["merged"] = check_logits(folder, load(folder / "merged"), model,
                                   adapter)
    (folder / "r.lua").write_text(RECIPE % (
        "model", 'adapter = hone.lora { modules_to_save = { "embed_tokens", '
        '"layernorm" } },', "saved"))
    hone(folder, "run", "r.lua")
    adapter = folder / "saved/adapter"
    found["saved"] = check_logits(folder, load(model, adapter), model, adapter)
    hone(folder, "export", "saved", "--to", "merged", "--out", "merged2")
    found["saved merged"] = check_logits(folder, load(folder / "merged2"),
                                         model, adapter)
    return found


def golden(folder, name, family, keys):
    """Runs as test_families.py makes them write their first weights where the
    rate is 0."""
    adapters = ["lora", "dora"] if name in test_families.DORA else ["lora"]
    tiny_run.main(folder)
    test_families.configure(folder, family, keys)
    for out in "full", *adapters:
        more = ["adapter.dropout=0", "adapter.dora=%s" % str(out == "dora")
                .lower()] if out != "full" else []
        hone(folder, "run", "lora.lua" if more else "full.lua", "--out", out,
             *[x for m in ("steps=1", "optimizer.lr=0", *more)
               for x in ("--set", m)])
    m = load(folder / "full/model")
    found = [step(m, folder), norm(gradients(m).values())]
    for out in adapters:
        adapted = load(folder / "full/model", folder / out / "adapter")
        step(adapted, folder)
        found.append(norm(gradients(adapted).values()))
    return found


def main():
    bad, numbers = 0, {}
    shared = tempfile.TemporaryDirectory()
    test_models_page.share(pathlib.Path(shared.name) / "share")
    page = test_models_page.config()
    cases = {**CASES, page["model_type"]: (page["model_type"], page)}
    for name, (family, keys) in cases.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary) / "tiny"
            if sys.argv[2:] == ["--golden"]:
                numbers[name] = golden(folder, name, family, keys)
                continue
            found = compare(folder, family, keys)
        worst = [k for k, v in found.items()
                 if not v <= (1e-5 if "loss" in k else 1e-4)]
        print("%-14s" % name, " ".join("%s %.1e" % i for i in found.items()),
              "BAD: " + ", ".join(worst) if worst else "")
        bad += bool(worst)
    if numbers:
        print(json.dumps({"command": "tests/parity/families.py BUILD --golden",
                          "transformers": transformers.__version__,
                          "peft": peft.__version__,
                          "loss_and_norms": numbers}, indent=1))
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
