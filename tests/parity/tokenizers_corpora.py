#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""hone's ids of the corpora, as whole files and as documents of some 2 KB,
against those of the libraries that the tokenizers are from: equal, and with
which CRC-32 (of the ids as little-endian words of 32 bits).

    tokenizers_corpora.py [--hone build/bin/hone] [--data $HONE_TEST_DATA]
                          [--crc FILE.json] [--only NAME]

FILE.json: rows {tokenizer, engine, text, crc} of the documents from another
program, which must be the same. A folder with vocab.json and merges.txt alone
is SmolLM's: its digits stand alone. Exit status 1 if anything differs."""
import argparse
import array
import glob
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zlib

from tokenizers import Tokenizer

import make_tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = 2048


def documents(text):
    """Whole lines until a document is full; of a line that is longer than two
    documents, what fits."""
    out, parts, size = [], [], 0
    for line in text.split("\n"):
        line += "\n"
        while line:
            raw = line.encode()
            head = line
            if len(raw) > 2 * DOCUMENT:
                most = max(DOCUMENT - size, 4)
                head = raw[:most].decode(errors="ignore")
            line = line[len(head):]
            parts.append(head)
            size += len(head.encode())
            if size >= DOCUMENT or line:
                out.append("".join(parts))
                parts, size = [], 0
    if parts:
        out.append("".join(parts))
    out[-1] = out[-1][:-1]  # the last line's end that the file has not
    return [d for d in out if d]


def crc(lists):
    check = 0
    for ids in lists:
        check = zlib.crc32(array.array("I", ids).tobytes(), check)
    return f"{check:08x}"


def of_hone(hone, path, texts):
    given = "".join(json.dumps(t, ensure_ascii=False) + "\n" for t in texts)
    done = subprocess.run([hone, "tokenize", path, "--json", "--no-special"],
                          input=given.encode(), capture_output=True)
    if done.returncode:
        sys.exit(f"{path}: {done.stderr.decode()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def engines(folder, scratch):
    """(engine, file, encode) of what lies in FOLDER."""
    name = os.path.basename(folder)
    path = os.path.join(folder, "tokenizer.json")
    if not os.path.exists(path):
        path = make_tokenizers.smollm(folder, scratch)
    if path:
        try:
            tok = Tokenizer.from_file(path)
            tok.no_truncation()
            yield "hf", path, lambda d: [
                e.ids for e in tok.encode_batch(d, add_special_tokens=False)]
        except Exception as why:
            print(f"{name}: the library refuses it: {why}")
    import sentencepiece
    for model in sorted(glob.glob(os.path.join(folder, "*.model"))):
        sp = sentencepiece.SentencePieceProcessor(model_file=model)
        label = "spm" if path else "spm-" + os.path.basename(model)[5:7]
        yield label, model, sp.encode


def compare(a, folder, texts, known, scratch):
    bad, name = 0, os.path.basename(folder)
    for engine, path, encode in engines(folder, scratch):
        for text, whole in texts.items():
            docs = documents(whole)
            for what, given in (("whole", [whole]), ("documents", docs)):
                want, got = encode(given), of_hone(a.hone, path, given)
                same = [list(w) for w in want] == got
                said = known.get((name, engine, text))
                if what == "documents" and known and said != crc(got):
                    print(f"{name} {engine} {text}: {said} was expected")
                    bad += 1
                bad += not same
                print(f"{name:<20}{engine:<8}{text:<24}{what:<10}"
                      f"{len(given):>5} {crc(got)} "
                      f"{'equal' if same else 'DIFFERENT'}", flush=True)
    return bad


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--hone", default=str(ROOT / "build/bin/hone"))
    p.add_argument("--data", default=os.environ.get("HONE_TEST_DATA"))
    p.add_argument("--crc")
    p.add_argument("--only", default="")
    a = p.parse_args()
    if not a.data:
        sys.exit("name the test material with --data or HONE_TEST_DATA")
    texts = {os.path.splitext(os.path.basename(f))[0]:
             open(f, encoding="utf-8", newline="").read()
             for f in sorted(glob.glob(os.path.join(a.data, "corpora", "*")))}
    rows = json.load(open(a.crc)) if a.crc else []
    known = {(r["tokenizer"], r["engine"], r["text"]): r["crc"] for r in rows}
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        for folder in sorted(glob.glob(os.path.join(a.data, "tokenizers",
                                                    "*"))):
            if a.only in folder:
                bad += compare(a, folder, texts, known, scratch)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
