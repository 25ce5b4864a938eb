#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Small tokenizers for tokenizers_fuzz.py that use, between them, every
component that the library `tokenizers` has, trained on the corpora of the
test material or put together by hand."""
import glob
import json
import os
import struct

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers import decoders as D
from tokenizers import models as M
from tokenizers import normalizers as N
from tokenizers import pre_tokenizers as P
from tokenizers import processors as X
from tokenizers import trainers as T

MARK = "\u2581"


def charsmap(pairs):
    """A Darts trie of PAIRS (key to text), as sentencepiece compiles one."""
    tree, blob = {}, b""
    for key, text in pairs.items():
        node = tree
        for b in key.encode():
            node = node.setdefault(b, {})
        node[None] = len(blob)
        blob += text.encode() + b"\0"
    units, used = [0] * 256, {0}

    def place(node, at):
        labels = [0 if k is None else k for k in node]
        base = 256
        while any((base ^ x) in used for x in labels) or (at ^ base) >> 21:
            base += 1
        for x in labels:
            used.add(base ^ x)
        need = (max(base ^ x for x in labels) | 255) + 1
        units.extend([0] * (need - len(units)))
        units[at] |= (at ^ base) << 10 if at else base << 10
        for k, child in node.items():
            to = base ^ (0 if k is None else k)
            if k is None:
                units[at] |= 1 << 8
                units[to] = 1 << 31 | child
            else:
                units[to] |= k
                place(child, to)

    place(tree, 0)
    packed = struct.pack(f"<{len(units)}I", *units)
    return struct.pack("<I", len(packed)) + packed + blob


FORMS = {"\uff21": "A", "\ufb01": "fi", "e\u0301": "\u00e9", "\u3000": " ",
         "\u2126": "\u03a9", "\u00bd": "1/2", "\u00ad": "", "\t": " ",
         "\u30ab\u3099": "\u30ac", "\uff76\uff9e": "\u30ac", "\u1100": "g"}


def text_files(data):
    return sorted(glob.glob(os.path.join(data, "corpora", "*.txt")))


def lines_of(data, count=1200):
    for path in text_files(data):
        text = open(path, encoding="utf-8").read(150000)
        yield from text.split("\n")[:count]


def train(tok, trainer, data):
    tok.train_from_iterator(lines_of(data), trainer)
    return tok


def bert(data):
    t = Tokenizer(M.WordPiece(unk_token="[UNK]"))
    t.normalizer = N.BertNormalizer()
    t.pre_tokenizer = P.BertPreTokenizer()
    t.decoder = D.WordPiece()
    train(t, T.WordPieceTrainer(show_progress=False, vocab_size=3000, special_tokens=[
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]), data)
    t.post_processor = X.BertProcessing(
        ("[SEP]", t.token_to_id("[SEP]")), ("[CLS]", t.token_to_id("[CLS]")))
    t.add_special_tokens([AddedToken("[MASK]", lstrip=True)])
    t.add_tokens(["unwanted", AddedToken("Cat", single_word=True)])
    return t


def bert_cased(data):
    t = Tokenizer(M.WordPiece(unk_token="[UNK]", max_input_chars_per_word=12))
    t.normalizer = N.BertNormalizer(lowercase=False, strip_accents=True)
    t.pre_tokenizer = P.Sequence([P.Whitespace(), P.Digits(True)])
    t.decoder = D.WordPiece("##", False)
    return train(t, T.WordPieceTrainer(show_progress=False, vocab_size=2000, special_tokens=[
        "[UNK]"], continuing_subword_prefix="##"), data)


def word_level(data):
    t = Tokenizer(M.WordLevel(unk_token="<unk>"))
    t.normalizer = N.Sequence([N.NFKC(), N.Lowercase(), N.Nmt()])
    t.pre_tokenizer = P.Sequence([P.Whitespace(),
                                  P.Punctuation("isolated")])
    t.add_tokens([AddedToken("new york", normalized=True)])
    return train(t, T.WordLevelTrainer(show_progress=False, vocab_size=2000, special_tokens=[
        "<unk>", "<pad>"]), data)


def unigram(data, **options):
    t = Tokenizer(M.Unigram())
    t.normalizer = N.Sequence([N.Precompiled(charsmap(FORMS)),
                               N.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = P.Metaspace(prepend_scheme="always")
    t.decoder = D.Metaspace(prepend_scheme="always")
    train(t, T.UnigramTrainer(show_progress=False, vocab_size=5000, unk_token="<unk>",
                              special_tokens=["<pad>", "</s>", "<unk>"]),
          data)
    t.post_processor = X.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[
            ("</s>", t.token_to_id("</s>"))])
    t.add_tokens([AddedToken("<extra>", rstrip=True), "Extra word"])
    if options:
        spec = json.loads(t.to_str())
        model = spec["model"]
        if options.get("bytes"):
            model["byte_fallback"] = True
            model["vocab"] += [[f"<0x{b:02X}>", -20.0] for b in range(256)]
        if options.get("whole"):
            spec["pre_tokenizer"] = None
            spec["normalizer"] = None
        if options.get("scores"):  # many ways are equally good
            model["vocab"] = [[p, float(-len(p) // options["scores"])]
                              for p, _ in model["vocab"]]
        t = Tokenizer.from_str(json.dumps(spec))
    return t


def xlm(data):
    t = unigram(data)
    t.normalizer = N.Precompiled(charsmap(FORMS))
    t.pre_tokenizer = P.Sequence([P.WhitespaceSplit(),
                                  P.Metaspace(prepend_scheme="always")])
    return t


def gpt_old(data):
    """OpenAI's first: </w> ends words."""
    t = Tokenizer(M.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = N.BertNormalizer(lowercase=True)
    t.pre_tokenizer = P.BertPreTokenizer()
    t.decoder = D.BPEDecoder()
    return train(t, T.BpeTrainer(show_progress=False, vocab_size=2000, special_tokens=["<unk>"],
                                 end_of_word_suffix="</w>"), data)


def bpe_prefix(data):
    t = Tokenizer(M.BPE(unk_token="[UNK]", continuing_subword_prefix="##",
                        fuse_unk=True))
    t.pre_tokenizer = P.Whitespace()
    t.decoder = D.WordPiece()
    return train(t, T.BpeTrainer(show_progress=False, vocab_size=2000, special_tokens=["[UNK]"],
                                 limit_alphabet=120,
                                 continuing_subword_prefix="##"), data)


def bpe_pieces(data, fuse, scheme, split):
    t = Tokenizer(M.BPE(unk_token="<unk>", fuse_unk=fuse))
    t.pre_tokenizer = P.Metaspace(prepend_scheme=scheme, split=split)
    t.decoder = D.Metaspace(prepend_scheme=scheme)
    return train(t, T.BpeTrainer(show_progress=False, vocab_size=2500, limit_alphabet=150,
                                 special_tokens=["<unk>", "<s>"]), data)


def byte_level(data, pre, normalizer=None, **model):
    t = Tokenizer(M.BPE())
    t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = D.ByteLevel()
    train(t, T.BpeTrainer(show_progress=False, vocab_size=2500, special_tokens=["<|end|>"],
                          initial_alphabet=P.ByteLevel.alphabet()), data)
    t.add_tokens([AddedToken("Hello", single_word=True, lstrip=True),
                  AddedToken("  pad", normalized=False, rstrip=True)])
    if model:
        spec = json.loads(t.to_str())
        spec["model"].update(model)
        t = Tokenizer.from_str(json.dumps(spec))
    return t


LEVEL = P.ByteLevel(add_prefix_space=False, use_regex=False)
CLITICS = "'s|'t|'re|'ve|'m|'ll|'d"
CASES = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]+@|[^\r\n\p{L}\p{N}]?"
         r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*@")
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "llama3": r"(?i:" + CLITICS + r")|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
              r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen35": r"(?i:" + CLITICS + r")|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
              r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": CASES.replace("@", f"(?i:{CLITICS})?") + r"|\p{N}{1,3}" + TAIL,
    "tekken": CASES.replace("@", "") + r"|\p{N}" + TAIL,
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
              r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "deepseek": "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
                r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
                r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "scripts": r"[\p{Han}&&[^\u4e2d]]+|\p{Hiragana}+|\p{Katakana}+"
               r"|\p{^Latin}|[[:alpha:]&&[^aeiou]]+|[^\W\d_]{2,}+|\h|\bx",
    "words": r"\w+|[^\w\s]+|\s{,2}|(?i)a(?m:.)b|K",
}


def make(data, folder, only=""):
    """Writes the tokenizers whose name has ONLY in it, but those that FOLDER
    has; {name: path}."""
    new_split = lambda r, b="isolated", i=False: P.Sequence(
        [P.Split(Regex(r), b, i), LEVEL])
    todo = {
        "bert": lambda: bert(data),
        "bert-cased": lambda: bert_cased(data),
        "wordlevel": lambda: word_level(data),
        "unigram": lambda: unigram(data),
        "unigram-bytes": lambda: unigram(data, bytes=True),
        "unigram-whole": lambda: unigram(data, whole=True),
        "unigram-ties": lambda: unigram(data, scores=2, whole=True),
        "unigram-xlm": lambda: xlm(data),
        "gpt-old": lambda: gpt_old(data),
        "bpe-prefix": lambda: bpe_prefix(data),
    }
    for fuse in (True, False):
        for scheme in ("always", "first", "never"):
            for split in (True, False):
                todo[f"bpe-{scheme}-{fuse}-{split}"] = \
                    lambda f=fuse, s=scheme, p=split: bpe_pieces(data, f, s, p)
    # A space before every piece shows where the cuts are.
    shown = lambda r: P.Sequence([P.Split(Regex(r), "isolated"),
                                  P.ByteLevel(True, use_regex=False)])
    for name, regex in PATTERNS.items():
        todo["pattern-" + name] = \
            lambda r=regex: byte_level(data, shown(r))
        todo["slow-" + name] = \
            lambda r=regex: byte_level(data, shown(f"(?:{r})"))
    todo["pattern-gpt2"] = lambda: byte_level(data, P.ByteLevel(False))
    todo["slow-gpt2"] = lambda: byte_level(data, new_split(
        CLITICS + r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"))
    todo["prefix-space"] = lambda: byte_level(
        data, P.ByteLevel(True), ignore_merges=True)
    todo["smollm"] = lambda: byte_level(data, P.Sequence(
        [P.Digits(True), P.ByteLevel(False)]))
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        todo["form-" + form] = lambda f=form: byte_level(
            data, P.ByteLevel(False), getattr(N, f)())
    for name, part in {
            "strip": N.Strip(), "accents": N.Sequence(
                [N.NFD(), N.StripAccents(), N.Lowercase()]),
            "prepend": N.Sequence([N.Prepend("<<"), N.Strip(True, False)]),
            "bytes": N.ByteLevel(), "nmt": N.Nmt(),
            "replace": N.Replace(Regex(r"(?<=a)b|\d{2}|c+"), "-+"),
            "charsmap": N.Precompiled(charsmap(FORMS))}.items():
        todo["normal-" + name] = lambda n=part: byte_level(
            data, P.ByteLevel(False), n)
    for name, part in {
            "scripts": P.UnicodeScripts(), "fixed": P.FixedLength(3),
            "delimiter": P.CharDelimiterSplit("e"),
            "white": P.WhitespaceSplit(), "bert": P.BertPreTokenizer(),
            "meta": P.Metaspace(prepend_scheme="first"),
            "twice": P.ByteLevel(False)}.items():
        todo["pre-" + name] = lambda q=part: byte_level(
            data, P.Sequence([q, LEVEL]))
    for b in ("removed", "isolated", "merged_with_previous",
              "merged_with_next", "contiguous"):
        for i in (False, True):
            todo[f"split-{b}-{i}"] = lambda bb=b, ii=i: byte_level(
                data, new_split(r"\s|[aeiou]", bb, ii))
        todo[f"punctuation-{b}"] = lambda bb=b: byte_level(
            data, P.Sequence([P.Punctuation(bb), P.Digits(False), LEVEL]))
    todo["ctc"] = lambda: ctc(data)
    paths = {}
    for name, build in todo.items():
        if only in name:
            paths[name] = os.path.join(folder, name + ".json")
            if not os.path.exists(paths[name]):
                build().save(paths[name])
    return paths


def ctc(data):
    t = word_level(data)
    t.pre_tokenizer = P.Split("", "isolated")
    t.decoder = D.Sequence([D.CTC("<pad>", "|", True), D.Strip("a", 1, 0),
                            D.Fuse()])
    return t


def smollm(folder, to):
    """A tokenizer.json of the vocab.json and merges.txt in FOLDER, which do
    not say that SmolLM's digits stand alone; None: they are not there."""
    names = [os.path.join(folder, n) for n in ("vocab.json", "merges.txt")]
    path = os.path.join(to, os.path.basename(folder) + "-files.json")
    if not all(map(os.path.exists, names)):
        return None
    t = Tokenizer(M.BPE.from_file(*names))
    t.pre_tokenizer = P.Sequence([P.Digits(True), P.ByteLevel(False)])
    t.decoder = D.ByteLevel()
    vocabulary = sorted(t.get_vocab().items(), key=lambda v: v[1])
    t.add_special_tokens([piece for piece, _ in vocabulary[:17]])
    t.save(path)
    return path


MODELS = {
    "bpe-user": dict(model_type="bpe", vocab_size=2500,
                     user_defined_symbols=["<sep>", "hello", "\u2581the",
                                           "ab", "  "]),
    "bpe-bytes": dict(model_type="bpe", vocab_size=2500, byte_fallback=True,
                      split_digits=True,
                      normalization_rule_name="identity",
                      remove_extra_whitespaces=False,
                      allow_whitespace_only_pieces=True),
    "bpe-cover": dict(model_type="bpe", vocab_size=1500,
                      character_coverage=0.98,
                      normalization_rule_name="nfkc_cf"),
    "unigram-user": dict(model_type="unigram", vocab_size=4000,
                         byte_fallback=True, character_coverage=0.995,
                         user_defined_symbols=["<sep>", "hello", "\u3042\u3044"]),
    "unigram-overlap": dict(model_type="unigram", vocab_size=4000,
                            user_defined_symbols=[
                                "aa", "aaa", "  ", "   ", "the", "he", "her",
                                "ere", "\u3042\u3042", "--", "---", "...."]),
    "unigram-suffix": dict(model_type="unigram", vocab_size=4000,
                           treat_whitespace_as_suffix=True,
                           normalization_rule_name="nmt_nfkc_cf"),
    "unigram-plain": dict(model_type="unigram", vocab_size=4000,
                          add_dummy_prefix=False,
                          normalization_rule_name="nfkc",
                          unk_surface=" ? "),
    "unigram-spaces": dict(model_type="unigram", vocab_size=4000,
                           remove_extra_whitespaces=False, byte_fallback=True,
                           allow_whitespace_only_pieces=True,
                           user_defined_symbols=["a b", "x  y"]),
    "unigram-suffixes": dict(model_type="unigram", vocab_size=4000,
                             remove_extra_whitespaces=False,
                             treat_whitespace_as_suffix=True,
                             allow_whitespace_only_pieces=True),
}


def unused(model):
    """MODEL with every seventh normal piece unused: a field of its message."""
    out, at, number = b"", 0, 0
    while at < len(model) and model[at] == 0x0A:
        size, step = model[at + 1], 2
        if size > 127:
            size, step = (size & 127) | model[at + 2] << 7, 3
        body = model[at + step:at + step + size]
        plain = b"\x18" not in body[body[1] + 2 + 5:]
        if number % 7 == 0 and plain and body[1] > 3:
            body += b"\x18\x05"
        head = bytes([len(body)]) if len(body) < 128 else \
            bytes([len(body) & 127 | 128, len(body) >> 7])
        out += b"\x0A" + head + body
        at, number = at + step + size, number + 1
    return out + model[at:]


def make_models(data, folder, only=""):
    """Writes .model files that sentencepiece trains; {name: path}."""
    import io
    import sentencepiece
    paths, made = {}, {}
    for name, options in MODELS.items():
        paths[name] = os.path.join(folder, name + ".model")
        if only not in name + ".model" or os.path.exists(paths[name]):
            continue
        out = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([x for x in lines_of(data, 800) if x]),
            model_writer=out, minloglevel=2, **options)
        with open(paths[name], "wb") as f:
            f.write(out.getvalue())
    for name in ("bpe-bytes", "unigram-user"):
        new = name + "-unused"
        paths[new] = os.path.join(folder, new + ".model")
        if os.path.exists(paths[name]) and not os.path.exists(paths[new]):
            with open(paths[new], "wb") as f:
                f.write(unused(open(paths[name], "rb").read()))
    return {n: p for n, p in paths.items() if only in n + ".model"}
