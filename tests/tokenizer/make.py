#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes cases.json beside it: two tiny tokenizers, changes to them that bring
in one part of the format each, and the ids and texts that the library
`tokenizers` gives. Needed only to add cases; the tests read cases.json."""
import copy
import json
import pathlib

from tokenizers import Tokenizer, __version__

TEXTS = [
    "", " ", "the cat", " the  cat sat   on the mat. ", "Hello, world!",
    "don't we'll I'M", "a1b22 333 4444", "x\ny\n\n z\t\r\n",
    "caf\u00e9 cafe\u0301", "\u00e5\u030a\u0323 \u1100\u1161\u11a8 \u212b",
    "\U0001f600 \U0001f468\u200d\U0001f469", "\u4e2d\u6587\u3002\u3000 the",
    "<s>the</s> cat<s>", "  <mask>  the <mask>",
    "mask a<word>b <word> the<word>", "THE\u0130 Cat",
    "\u2581the \u2581\u2581cat", "<0x41> <unk> \u00ff\u0100\u0120",
    "\x00the\x7f\u00ad", "the" * 30, " " * 40,
    "\u0660\u00bd\u2167 2\u00b2 1234567", "e \u180ea\u0301 \u24b6\u0d3ea\n",
    "cat-mat--sat, the_cat (the) $5+5",
]
RAW = dict(single_word=False, lstrip=False, rstrip=False, normalized=False,
           special=False)


def byte_alphabet():
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in keep]
    return {**{b: chr(b) for b in keep},
            **{b: chr(256 + i) for i, b in enumerate(rest)}}


def token(content, **flags):
    return {"id": None, "content": content, **RAW, **flags}


def with_merges(pieces, pairs):
    vocab = {p: i for i, p in enumerate(pieces)}
    for a, b in pairs:
        vocab.setdefault(a + b, len(vocab))
    return vocab, [f"{a} {b}" for a, b in pairs]


def file(model, **parts):
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
            "post_processor": None, "decoder": None, **parts, "model": model}


def bytes_base():
    pairs = [("t", "h"), ("th", "e"), ("a", "t"), ("c", "at"),
             ("\u0120", "the"), ("\u0120", "c"), ("\u0120c", "at"), ("l", "l"),
             ("\u0120", "\u0120"), ("m", "at"), ("s", "at"), ("'", "t"),
             ("3", "3"), ("\u00c3", "\u00a9"), ("\u010a", "\u010a"),
             ("the", "the"), ("\u0120\u0120", "\u0120\u0120")]
    vocab, merges = with_merges(byte_alphabet().values(), pairs)
    vocab["\u0120sat"] = len(vocab)  # no merge leads here: ignore_merges
    part = {"type": "ByteLevel", "add_prefix_space": False,
            "trim_offsets": True, "use_regex": True}
    return file({"type": "BPE", "dropout": None, "unk_token": None,
                 "fuse_unk": False, "byte_fallback": False, "vocab": vocab,
                 "merges": merges}, pre_tokenizer=part, decoder=part,
                added_tokens=[token("<s>", special=True),
                              token("</s>", special=True)])


def pieces_base():
    chars = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)),
             "\u2581", *"thecasmonwrldHWTLIx.,!'12345", "\u00e9", "\u4e2d"]
    u = "\u2581"
    pairs = [(u, "t"), ("h", "e"), (u + "t", "he"), ("a", "t"), (u, "c"),
             (u + "c", "at"), ("c", "at"), (u, u), (u + u, u + u), ("l", "l"),
             ("s", "at"), (u, "s"), (u + "s", "at"), (u, "the")]
    vocab, merges = with_merges(chars, pairs[:-1])
    return file({"type": "BPE", "dropout": None, "unk_token": "<unk>",
                 "fuse_unk": True, "byte_fallback": True, "vocab": vocab,
                 "merges": [m.split(" ") for m in merges]},
                normalizer={"type": "Sequence", "normalizers": [
                    {"type": "Prepend", "prepend": u},
                    {"type": "Replace", "pattern": {"String": " "},
                     "content": u}]},
                decoder={"type": "Sequence", "decoders": [
                    {"type": "Replace", "pattern": {"String": u},
                     "content": " "},
                    {"type": "ByteFallback"}, {"type": "Fuse"},
                    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
                added_tokens=[token("<unk>", special=True),
                              token("<s>", special=True),
                              token("</s>", special=True)],
                post_processor={"type": "TemplateProcessing", "single": [
                    {"SpecialToken": {"id": "<s>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}}],
                    "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                             {"Sequence": {"id": "B", "type_id": 0}}],
                    "special_tokens": {"<s>": {"id": "<s>", "ids": [1],
                                               "tokens": ["<s>"]}}})


LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
         "use_regex": False}
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def split(pattern, behaviour, invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behaviour,
            "invert": invert}


def then_bytes(*steps):
    return {"pre_tokenizer": {"type": "Sequence",
                              "pretokenizers": [*steps, LEVEL]}}


def changes():
    yield "bytes", "plain", {}
    yield "bytes", "prefix space", {
        "pre_tokenizer": {**LEVEL, "use_regex": True, "add_prefix_space": True}}
    for b in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
              "Contiguous"):
        yield "bytes", f"split on a text, {b}", then_bytes(
            split({"String": "t"}, b))
        yield "bytes", f"split on white space, {b}", then_bytes(
            split({"Regex": r"\s"}, b))
        yield "bytes", f"split on words, inverted, {b}", then_bytes(
            split({"Regex": r"\w+"}, b, True))
        yield "bytes", f"punctuation, {b}", then_bytes(
            {"type": "Punctuation", "behavior": b})
    yield "bytes", "llama 3", then_bytes(split({"Regex": LLAMA3}, "Isolated"))
    yield "bytes", "empty matches", then_bytes(
        split({"Regex": r"t?(?=a)|x*"}, "Isolated"))
    yield "bytes", "a repeated interval", then_bytes(
        split({"Regex": r"\p{N}{1,3}+|(?m:a.)|\h|[\w&]+\S"}, "Isolated"))
    yield "bytes", "digits", then_bytes(
        {"type": "Digits", "individual_digits": True})
    yield "bytes", "digits together", then_bytes(
        {"type": "Digits", "individual_digits": False})
    yield "bytes", "white space gone", then_bytes({"type": "WhitespaceSplit"})
    yield "bytes", "delimiter", then_bytes(
        {"type": "CharDelimiterSplit", "delimiter": "-"})
    for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"):
        yield "bytes", form, {"normalizer": {"type": form}}
    yield "bytes", "strip", {"normalizer": {
        "type": "Strip", "strip_left": True, "strip_right": True}}
    yield "bytes", "replace a pattern", {"normalizer": {
        "type": "Replace", "pattern": {"Regex": r"\s+|a(?=t)"},
        "content": "\u2581"}}
    for name, flags in (("lstrip", dict(lstrip=True)),
                        ("rstrip", dict(rstrip=True)),
                        ("both strips", dict(lstrip=True, rstrip=True)),
                        ("single word", dict(single_word=True)),
                        ("normalized", dict(normalized=True))):
        yield "bytes", f"added tokens, {name}", {
            "normalizer": {"type": "Lowercase"},
            "added_tokens": [token("<mask>", special=True, **flags),
                             token("mask", **flags), token("<word>", **flags),
                             token("THE", **flags), token("<word>b", **flags)]}
    yield "bytes", "roberta", {"post_processor": {
        "type": "RobertaProcessing", "cls": ["a", 64], "sep": ["b", 65],
        "trim_offsets": True, "add_prefix_space": False}}
    yield "bytes", "no decoder", {"decoder": None}
    yield "pieces", "llama 2", {}
    meta = {"type": "Metaspace", "replacement": "\u2581"}
    for scheme in ("always", "first", "never"):
        for cut in (True, False):
            part = {**meta, "prepend_scheme": scheme, "split": cut}
            yield "pieces", f"metaspace {scheme} {cut}", {
                "normalizer": None, "pre_tokenizer": part, "decoder": part}
    yield "pieces", "metaspace of old", {
        "normalizer": None, "pre_tokenizer": {**meta, "add_prefix_space": True}}
    yield "pieces", "gemma", {
        "normalizer": {"type": "Replace", "pattern": {"String": " "},
                       "content": "\u2581"},
        "pre_tokenizer": split({"String": " "}, "MergedWithPrevious")}


def model_changes():
    yield "bytes", "ignore merges", {"ignore_merges": True}
    yield "pieces", "no byte fallback", {"byte_fallback": False}
    yield "pieces", "unknown ones apart", {"byte_fallback": False,
                                           "fuse_unk": False}
    yield "pieces", "unknown ones vanish", {"byte_fallback": False,
                                            "unk_token": None}


def number(spec):
    """Gives the added tokens the ids that the library will give them."""
    vocab = spec["model"]["vocab"]
    free = len(vocab)
    for added in spec["added_tokens"]:
        added["id"] = vocab.get(added["content"], free)
        free += added["id"] == free


def answers(spec):
    tok = Tokenizer.from_str(json.dumps(spec))
    for text in TEXTS:
        plain = tok.encode(text, add_special_tokens=False).ids
        full = tok.encode(text).ids
        yield [plain, full, tok.decode(full, skip_special_tokens=False),
               tok.decode(full)]


def main():
    bases = {"bytes": bytes_base(), "pieces": pieces_base()}
    for base in bases.values():
        number(base)
    tests = []
    todo = [(b, n, c, {}) for b, n, c in changes()]
    todo += [(b, n, {}, m) for b, n, m in model_changes()]
    for base, name, change, model in todo:
        spec = copy.deepcopy(bases[base])
        spec.update(change)
        spec["model"].update(model)
        number(spec)
        tests.append({"name": name, "base": base, "change": change,
                      "model": model, "answers": list(answers(spec))})
    out = {"library": f"tokenizers {__version__}", "bases": bases,
           "texts": TEXTS, "tests": tests}
    path = pathlib.Path(__file__).with_name("cases.json")
    text = json.dumps(out, ensure_ascii=True, separators=(",", ":"))
    path.write_text(text.replace('{"name"', '\n{"name"') + "\n")


main()
