#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""hone's tokenizers and the libraries in turn on one core: MB of text a second
of processor time, the best of some rounds.

    tokenizer_speed.py [--hone build/bin/hone] [--data $HONE_TEST_DATA]
                       [--rounds 3] [--only NAME]

Documents are lines of about 2 KB of the corpora. The processor time of a
process counts, so that others on the machine disturb less; rivals take turns.
hone is measured by `hone tokenize --bench`; the libraries in one call for all
documents, without offsets where they can (encode_batch_fast)."""
import argparse
import glob
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import sentencepiece  # noqa: E402
import tiktoken  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

import make_tokenizers  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMOLLM = (r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++|\p{N}| ?[^\s\p{L}\p{N}]++"
          r"|\s+(?=\p{N})|\s++$|\s+(?!\S)|\s")
GPT2 = (r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$"
        r"|\s+(?!\S)|\s")


def documents(path, size=2048):
    """One line each, newlines and all as spaces."""
    text = " ".join(open(path, encoding="utf-8").read().split("\n"))
    out, at = [], 0
    while at < len(text):
        n = size if text[at] < "\u0800" else size // 3
        out.append(text[at:at + n])
        at += n
    return out


def ranked(spec):
    """The tokenizer.json as tiktoken has it; None: it is not byte-level."""
    steps = spec["pre_tokenizer"] or {}
    steps = steps.get("pretokenizers", [steps])
    if not any(s.get("type") == "ByteLevel" for s in steps):
        return None
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in keep}
    table.update({chr(256 + i): b for i, b in enumerate(
        b for b in range(256) if b not in keep)})
    ranks = {bytes(table[c] for c in p): i
             for p, i in spec["model"]["vocab"].items()
             if all(c in table for c in p)}
    split = [s["pattern"]["Regex"] for s in steps if s.get("type") == "Split"]
    digits = any(s.get("type") == "Digits" for s in steps)
    usual = SMOLLM if digits else GPT2
    return tiktoken.Encoding("x", pat_str=split[0] if split else usual,
                             mergeable_ranks=ranks, special_tokens={})


def rivals(folder, scratch):
    path = os.path.join(folder, "tokenizer.json")
    if not os.path.exists(path):
        path = make_tokenizers.smollm(folder, scratch)
    if path:
        tok = Tokenizer.from_file(path)
        yield "tokenizers", path, lambda d: tok.encode_batch_fast(
            d, add_special_tokens=False)
        enc = ranked(json.load(open(path, encoding="utf-8")))
        if enc:
            yield "tiktoken", path, lambda d: enc.encode_batch(
                d, num_threads=1, disallowed_special=())
    for model in sorted(glob.glob(os.path.join(folder, "*.model"))):
        sp = sentencepiece.SentencePieceProcessor(model_file=model)
        yield "sentencepiece", model, lambda d, s=sp: s.encode(d,
                                                               num_threads=1)


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--hone", default=str(ROOT / "build/bin/hone"))
    p.add_argument("--data", default=os.environ.get("HONE_TEST_DATA"))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--only", default="")
    a = p.parse_args()
    if not a.data:
        sys.exit("name the test material with --data or HONE_TEST_DATA")
    scratch = tempfile.TemporaryDirectory()
    for folder in sorted(glob.glob(os.path.join(a.data, "tokenizers", "*"))):
        if a.only not in folder or "added-tokens" in folder:
            continue
        for who, path, call in rivals(folder, scratch.name):
            for text in sorted(glob.glob(os.path.join(a.data, "corpora",
                                                      "*.txt"))):
                docs = documents(text)
                size = sum(len(d.encode()) for d in docs)
                given = "\n".join(docs).encode() + b"\n"
                ours, theirs = [], []
                for _ in range(a.rounds):
                    done = subprocess.run(
                        [a.hone, "tokenize", path, "--bench", "--no-special"],
                        input=given, capture_output=True, check=True)
                    ours.append(json.loads(done.stdout)["cpu_seconds"])
                    start = time.process_time()
                    call(docs)
                    theirs.append(time.process_time() - start)
                print(f"{os.path.basename(folder):<20} "
                      f"{os.path.basename(text)[:20]:<20} "
                      f"hone {size / min(ours) / 1e6:7.1f}   {who:<13} "
                      f"{size / min(theirs) / 1e6:6.1f}   "
                      f"{min(theirs) / min(ours):5.1f} times", flush=True)


main()
