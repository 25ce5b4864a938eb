#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""For developers: what hone computes with a model, and with what it has saved,
against Transformers and PEFT. Needs torch, transformers, peft.

    logits.py BUILD MODEL [--adapter DIR]    logits of a few texts; greedy text
    logits.py BUILD MODEL --merged DIR       DIR: `hone export --to merged` of
                                             a run, against MODEL + --adapter

Exit status 1 where a logit is more than 1e-4 from that of Transformers in
double precision, or a text differs. (In single precision Transformers itself
is about as far from it as hone: both are printed.) A text may part where the
two best logits are closer than 1e-4: that is said. --tokens 0: no texts."""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers

PROMPTS = [
    "What is the capital of France?", "Once upon a time, there was a",
    "The quick brown fox", "List three primary colours:",
    "def fibonacci(n):", "Tom had 12 apples. He gave 5 to Anna.",
    "Lily went to the park and", "Water boils at",
    "Translate to French: good morning", "Dear Sir or Madam,",
]
LIMIT = 1e-4


def load(model, adapter):
    m = transformers.AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32)
    if adapter:
        import peft
        m = peft.PeftModel.from_pretrained(m, adapter)
    return m.eval()


def hone_logits(build, model, adapter, ids):
    with tempfile.TemporaryDirectory() as folder:
        listed, out = os.path.join(folder, "ids"), os.path.join(folder, "out")
        with open(listed, "w", encoding="ascii") as f:
            for row in ids:
                f.write(" ".join(map(str, row)) + "\n")
        subprocess.run([os.path.join(build, "bin/parity_dump"), "logits",
                        model, adapter or "-", listed, out], check=True)
        flat = numpy.fromfile(out, dtype=numpy.float32)
    return flat.reshape(sum(map(len, ids)), -1)


def logits(m, ids):
    with torch.no_grad():
        return numpy.concatenate(
            [m(input_ids=torch.tensor([row])).logits[0].numpy()
             for row in ids])


def check_logits(what, got, m, ids):
    single = logits(m, ids)
    double = logits(m.double(), ids)
    m.float()
    apart = [float(abs(a - b).max()) for a, b in
             ((got, double), (single, double), (got, single))]
    print("%s: %d tokens, logits up to %.3g; at most %.2e from double "
          "precision (Transformers' own: %.2e; from each other: %.2e)" %
          (what, len(got), abs(double).max(), *apart))
    return apart[0] <= LIMIT


def check_text(build, model, adapter, m, tok, prompt, tokens):
    command = [os.path.join(build, "bin/hone"), "generate", model, "--prompt",
               prompt, "--max-tokens", str(tokens)]
    if adapter:
        command += ["--adapter", adapter]
    got = subprocess.run(command, check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    ids = tok(prompt, return_tensors="pt").input_ids
    out = m.generate(input_ids=ids, attention_mask=torch.ones_like(ids),
                     do_sample=False, max_new_tokens=tokens,
                     output_logits=True, return_dict_in_generate=True)
    new = out.sequences[0][ids.shape[1]:]
    want = tok.decode(new, skip_special_tokens=True,
                      clean_up_tokenization_spaces=False) + "\n"
    if got == want:
        return True
    best = torch.stack([x[0] for x in out.logits]).topk(2).values
    gap = float((best[:, 0] - best[:, 1]).min())
    print("%r:\n  hone %r\n  here %r\n  closest two logits: %.2e" %
          (prompt, got, want, gap))
    return gap < LIMIT


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("build")
    p.add_argument("model")
    p.add_argument("--adapter")
    p.add_argument("--merged")
    p.add_argument("--tokens", type=int, default=32)
    a = p.parse_args()
    tok = transformers.AutoTokenizer.from_pretrained(a.model)
    ids = [tok(text).input_ids for text in PROMPTS]
    m = load(a.merged or a.model, None if a.merged else a.adapter)
    got = hone_logits(a.build, a.model, a.adapter, ids)
    good = check_logits("merged in Transformers" if a.merged else
                        "adapter in PEFT" if a.adapter else "model", got, m,
                        ids)
    if not a.merged and a.tokens:
        same = [check_text(a.build, a.model, a.adapter, m, tok, text, a.tokens)
                for text in PROMPTS]
        print("greedy text: %d of %d prompts the same" %
              (sum(same), len(same)))
        good = good and all(same)
    sys.exit(not good)


if __name__ == "__main__":
    main()
