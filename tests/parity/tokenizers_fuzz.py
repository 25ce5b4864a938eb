#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`hone tokenize` against the Hugging Face library `tokenizers`, side by side
on random texts: Unicode of every plane, broken UTF-8, long runs of spaces,
words of the corpora, added tokens inside of words; then decoding, of what was
encoded and of random ids.

    tokenizers_fuzz.py [--hone build/bin/hone] [--data $HONE_TEST_DATA]
                       [--count 20000] [--seed 1] [--only NAME] [--made DIR]

Compares every tokenizer.json of the test material, and tokenizers made here
(make_tokenizers.py; kept in DIR) that use every component of the format; then
.model files with sentencepiece, a file of ranks with tiktoken. Says which first
text differs; exit status 1 if any does. The full run is --count 200000."""
import argparse
import base64
import glob
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

import make_tokenizers

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ODD = ("\u0130\u00df\ufb01\u01c5\u0345\u0301\u0323\u0327\u3099\u309a\u1100"
       "\u1161\u11a8\uac00\u212b\u2126\ufffd\u200d\u200c\u200b\u00ad\u061c"
       "\u2028\u2029\u0085\u00a0\u1680\u3000\u2009\ufeff\u0000\u0001\u007f"
       "\u017f\u212a\u02bc\u2019\u00b2\u00bd\u2167\u0660\u0e01\u0e33\u0939"
       "\u094d\u0915\u0600\u06dd\u2581\u0120\u010a<>|[]{}#\u4e2d\u6587\u3042"
       "\u30a2\u30fc\u0416\u0436\u05d0\u0627\U0001f600\U0001f468\U0001f1e9"
       "\U0002a6d6\U000e0041\U0010ffff\ue000")
SPACES = [" ", "  ", "   ", "\n", "\r\n", "\n\n", "\t", " \n", "\u00a0",
          "\u3000", " \t ", "\r"]
CLITICS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'\u017f",
           "'", "n't", "\u2019s", "'Re", "'x"]


def words(data):
    out = []
    for path in sorted(glob.glob(os.path.join(data, "corpora", "*.txt"))):
        text = open(path, encoding="utf-8").read()
        out += [w[:60] for w in text[:200000].split(" ")[:8000]]
        out += [text[i:i + 60] for i in range(0, 60000, 301)]
    out.append(text[:60000])  # one that is long
    return out


def any_char(rng):
    kind = rng.random()
    if kind < 0.25:
        return chr(rng.randrange(0x20, 0x7F))
    if kind < 0.4:
        return rng.choice(ODD)
    if kind < 0.6:
        c = rng.randrange(0, 0x3000)
    elif kind < 0.8:
        c = rng.randrange(0, 0x10000)
    elif kind < 0.93:
        c = rng.randrange(0x10000, 0x20000)
    else:
        c = rng.randrange(0x20000, 0x110000)
    return "\ufffd" if 0xD800 <= c <= 0xDFFF else chr(c)


def part(rng, vocabulary, added):
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(vocabulary).encode()
    if kind < 0.5:
        return "".join(any_char(rng)
                       for _ in range(rng.randrange(1, 8))).encode()
    if kind < 0.62:
        return rng.choice(SPACES).encode()
    if kind < 0.66:
        return (rng.choice(" \n\t\u00a0aA1-.\u3042\u2581") *
                rng.randrange(1, 70)).encode()
    if kind < 0.74:
        return rng.choice(CLITICS).encode()
    if kind < 0.82 and added:
        token = rng.choice(added)
        return rng.choice(["", " ", "  ", "a", "_"]).encode() + \
            token.encode() + rng.choice(["", " ", "\n ", "b", "1"]).encode()
    if kind < 0.87:
        return str(rng.randrange(10 ** rng.randrange(1, 12))).encode()
    if kind < 0.9:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(1, 6)))
    return "".join(rng.choice("abcXYZ019 .,;:!?/\\-_()\n'\"")
                   for _ in range(rng.randrange(1, 16))).encode()


def texts(rng, count, vocabulary, added):
    for _ in range(count):
        n = rng.randrange(0, 9)
        yield b"".join(part(rng, vocabulary, added) for _ in range(n))


def run(args, lines):
    with tempfile.TemporaryFile() as given:
        given.write(b"".join(line + b"\n" for line in lines))
        given.seek(0)
        done = subprocess.run(args, stdin=given, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{args}: {done.stderr.decode()[-400:]}")
    return done.stdout.split(b"\n")[:-1]


def quoted(raw):
    """A line of JSON whose broken UTF-8 is still in it."""
    out = bytearray(b'"')
    for b in raw:
        if b in b'"\\':
            out += b"\\" + bytes([b])
        elif b < 0x20:
            out += b"\\u%04x" % b
        else:
            out.append(b)
    return bytes(out + b'"')


def from_model(path):
    """sentencepiece itself: (encode, decode)."""
    import sentencepiece
    sp = sentencepiece.SentencePieceProcessor(model_file=path)
    return sp.encode, sp.decode, sp.get_piece_size()


def from_ranks(path):
    """tiktoken itself, with the pattern of Llama 3."""
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe
    ranks = load_tiktoken_bpe(path)
    enc = tiktoken.Encoding("x", pat_str=make_tokenizers.PATTERNS["llama3"],
                            mergeable_ranks=ranks, special_tokens={})
    return (lambda t: enc.encode(t, disallowed_special=()),
            enc.decode, len(ranks))


def write_ranks(tokenizer, path):
    """A file of ranks of the byte-level vocabulary of a tokenizer.json."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in keep}
    table.update({chr(256 + i): b for i, b in enumerate(
        b for b in range(256) if b not in keep)})
    vocab = json.load(open(tokenizer, encoding="utf-8"))["model"]["vocab"]
    with open(path, "w") as out:
        for piece, rank in sorted(vocab.items(), key=lambda x: x[1]):
            if all(c in table for c in piece):
                raw = base64.b64encode(bytes(table[c] for c in piece))
                out.write(f"{raw.decode()} {rank}\n")


def compare_with(hone, name, path, count, seed, vocabulary, library_of):
    """A file that is no tokenizer.json, against the library it is from."""
    encode, decode, size = library_of(path)
    rng = random.Random(f"{seed} {name}")
    given = list(texts(rng, count, vocabulary, []))
    read = [raw.decode("utf-8", "replace") for raw in given]
    got = run([hone, "tokenize", path, "--json"], map(quoted, given))
    want = [encode(t) for t in read]
    bad = 0
    for raw, w, g in zip(given, want, got):
        if w != json.loads(g):
            bad += differ(name, "encoding", raw, w, g.decode())
            break
    ids = want + [[rng.randrange(size) for _ in range(rng.randrange(0, 12))]
                  for _ in range(count // 4)]
    got = run([hone, "tokenize", path, "--json", "--decode"],
              [json.dumps(i).encode() for i in ids])
    for i, g in zip(ids, got):
        if decode(i) != json.loads(g):
            bad += differ(name, "decoding", i, repr(decode(i)),
                          repr(json.loads(g)))
            break
    print(f"{name}: {count} texts, {'DIFFERENT' if bad else 'equal'}",
          flush=True)
    return bad


def differ(name, what, given, want, got):
    print(f"{name}: {what} differs on {given!r}\n  library {want}\n"
          f"  hone    {got}")
    return 1


def library(tok, read, specials):
    """Ids of each text; None where the library itself breaks down."""
    try:
        return [e.ids for e in
                tok.encode_batch_fast(read, add_special_tokens=specials)]
    except BaseException:
        pass
    out = []
    for text in read:
        try:
            out.append(tok.encode(text, add_special_tokens=specials).ids)
        except BaseException:
            out.append(None)
    return out


def compare(hone, name, path, count, seed, vocabulary):
    try:
        tok = Tokenizer.from_file(path)
    except Exception as why:
        done = subprocess.run([hone, "tokenize", path], input=b"",
                              capture_output=True)
        print(f"{name}: the library refuses it: {why}\n"
              f"  hone    {done.stderr.decode().strip()}")
        return done.returncode != 2
    rng = random.Random(f"{seed} {name}")
    added = [t.content for t in tok.get_added_tokens_decoder().values()]
    given = list(texts(rng, count, vocabulary, rng.sample(
        added, min(len(added), 40))))
    read = [raw.decode("utf-8", "replace") for raw in given]
    lines = [quoted(raw) for raw in given]
    bad = 0
    encoded = {}
    for specials in (True, False):
        args = [hone, "tokenize", path, "--json"]
        got = run(args + ([] if specials else ["--no-special"]), lines)
        encoded[specials] = library(tok, read, specials)
        for raw, w, g in zip(given, encoded[specials], got):
            if w is not None and w != json.loads(g):
                bad += differ(name, "encoding", raw, w, g.decode())
                break
    encoded = [ids for ids in encoded[True] if ids is not None]
    top = max([i for ids in encoded for i in ids] or [1]) + 3
    ids = encoded + [[rng.randrange(top)
                            for _ in range(rng.randrange(0, 12))]
                           for _ in range(count // 4)]
    lines = [json.dumps(i, separators=(",", ":")).encode() for i in ids]
    for skip in (True, False):
        args = [hone, "tokenize", path, "--json", "--decode"]
        got = run(args + (["--no-special"] if skip else []), lines)
        want = tok.decode_batch(ids, skip_special_tokens=skip)
        for i, w, g in zip(ids, want, got):
            if w != json.loads(g):
                bad += differ(name, "decoding", i, repr(w),
                              repr(json.loads(g)))
                break
    print(f"{name}: {count} texts, {'DIFFERENT' if bad else 'equal'}",
          flush=True)
    return bad


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--hone", default=str(ROOT / "build/bin/hone"))
    p.add_argument("--data", default=os.environ.get("HONE_TEST_DATA"))
    p.add_argument("--count", type=int, default=20000)
    p.add_argument("--seed", default="1")
    p.add_argument("--only", default="")
    p.add_argument("--made")
    a = p.parse_args()
    if not a.data:
        sys.exit("name the test material with --data or HONE_TEST_DATA")
    bad, vocabulary = 0, words(a.data)
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for path in sorted(glob.glob(
                os.path.join(a.data, "tokenizers", "*", "tokenizer*.json"))):
            name = os.path.basename(os.path.dirname(path))
            if "_config" not in path:
                paths[name + "/" + os.path.basename(path)] = path
        for lone in glob.glob(os.path.join(a.data, "tokenizers", "*")):
            path = os.path.join(lone, "tokenizer.json")
            made = make_tokenizers.smollm(lone, folder)
            if made and not os.path.exists(path):
                paths[os.path.basename(lone) + "/files"] = made
        paths.update(make_tokenizers.make(a.data, a.made or folder, a.only))
        for name, path in paths.items():
            if a.only in name:
                bad += compare(a.hone, name, path, a.count, a.seed, vocabulary)
        made = make_tokenizers.make_models(a.data, a.made or folder, a.only)
        for path in sorted(glob.glob(os.path.join(
                a.data, "tokenizers", "*", "*.model"))) + list(made.values()):
            name = "/".join(path.split("/")[-2:])
            if a.only in name:
                bad += compare_with(a.hone, name, path, a.count, a.seed,
                                    vocabulary, from_model)
        if a.only in "tiktoken":
            path = os.path.join(folder, "llama3.tiktoken")
            write_ranks(os.path.join(a.data, "tokenizers", "llama3.1",
                                     "tokenizer.json"), path)
            bad += compare_with(a.hone, "tiktoken", path, a.count, a.seed,
                                vocabulary, from_ranks)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
