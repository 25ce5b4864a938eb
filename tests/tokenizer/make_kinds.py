#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes kinds.json beside it: small tokenizers of every kind that hone reads
(tokenizer.json with each model and the rarer components, sentencepiece's
.model, tiktoken's ranks), and the ids and texts that the libraries they are
from give. Needed only to add some; the tests read kinds.json."""
import base64
import io
import json
import pathlib
import sys

import sentencepiece
import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, __version__
from tokenizers import decoders as D
from tokenizers import models as M
from tokenizers import normalizers as N
from tokenizers import pre_tokenizers as P
from tokenizers import processors as X
from tokenizers import trainers as T

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "parity"))
import make_tokenizers as big  # noqa: E402

TRAINING = ["the cat sat on the mat", "the dog and the cats", "a cat, a mat!",
            "she said: don't sit there", "12 cats sat 345 times",
            "caf\u00e9 na\u00efve", "\u732b\u304c\u3044\u308b\u3002",
            "\u3053\u3093\u306b\u3061\u306f \u732b", "Hello World Hello"] * 6
TEXTS = [
    "", " ", "the cat sat", "  The  CATS\tsat\n", "caf\u00e9 cafe\u0301 \ufb01",
    "\u732b\u304c\u3044\u308b\u3002\u30ab\u3099 \uff21", "x\u00ad\u1de8y\u0000z",
    "---------", "a-b--c 12345 \u0661\u00bd", "<s>the<sep> [MASK] cat</s>",
    "Hello, \U0001f600 world \U0001f468\u200d\U0001f469!", "\u2581the \u2581",
    "don't we'LL I'\u017f", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\u06dda\u0301",
    "\U0001e066\u0915\u094d\u0930 \u0130I\u0131", "hello ab the  the",
]


def trained(tok, trainer):
    tok.train_from_iterator(TRAINING, trainer)
    return tok


def wordpiece():
    t = Tokenizer(M.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    t.normalizer = N.BertNormalizer()
    t.pre_tokenizer = P.BertPreTokenizer()
    t.decoder = D.WordPiece()
    trained(t, T.WordPieceTrainer(show_progress=False, vocab_size=120,
                                  special_tokens=["[UNK]", "[CLS]", "[SEP]"]))
    t.post_processor = X.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    t.add_special_tokens([AddedToken("[MASK]", lstrip=True)])
    return t


def wordlevel():
    t = Tokenizer(M.WordLevel(unk_token="<unk>"))
    t.normalizer = N.Sequence([N.Nmt(), N.NFKC(), N.Lowercase(),
                               N.StripAccents()])
    t.pre_tokenizer = P.Sequence([P.Whitespace(), P.UnicodeScripts(),
                                  P.Punctuation("isolated")])
    t.decoder = D.Sequence([D.CTC("-", "|", True), D.Fuse()])
    return trained(t, T.WordLevelTrainer(show_progress=False, vocab_size=60,
                                         special_tokens=["<unk>"]))


def unigram(fallback):
    t = Tokenizer(M.Unigram())
    t.normalizer = N.Precompiled(big.charsmap(big.FORMS))
    t.pre_tokenizer = P.Metaspace(prepend_scheme="always")
    t.decoder = D.Metaspace(prepend_scheme="always")
    trained(t, T.UnigramTrainer(show_progress=False, vocab_size=90,
                                unk_token="<unk>",
                                special_tokens=["<unk>", "<s>", "</s>"]))
    t.post_processor = X.TemplateProcessing(
        single="<s> $A </s>", pair="$A </s> $B </s>",
        special_tokens=[("<s>", 1), ("</s>", 2)])
    spec = json.loads(t.to_str())
    if fallback:
        spec["model"]["byte_fallback"] = True
        spec["model"]["vocab"] += [[f"<0x{b:02X}>", -9.5] for b in range(256)]
        spec["pre_tokenizer"] = None
    return Tokenizer.from_str(json.dumps(spec))


def suffix_bpe():
    t = Tokenizer(M.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = N.Sequence([N.NFD(), N.Replace(Regex(r"[aeiou]{2,}"), "o"),
                               N.Strip()])
    t.pre_tokenizer = P.Sequence([P.WhitespaceSplit(), P.FixedLength(6)])
    t.decoder = D.BPEDecoder()
    return trained(t, T.BpeTrainer(show_progress=False, vocab_size=120,
                                   special_tokens=["<unk>"],
                                   end_of_word_suffix="</w>"))


def prefix_bpe():
    t = Tokenizer(M.BPE(unk_token="<unk>", fuse_unk=True,
                        continuing_subword_prefix="##"))
    t.normalizer = N.ByteLevel()
    t.pre_tokenizer = P.Split(Regex(r"[\p{L}&&[^t]]+|\h|\bx"), "contiguous")
    t.decoder = D.Sequence([D.WordPiece("##", False), D.Strip("t", 1, 0),
                            D.ByteLevel()])
    return trained(t, T.BpeTrainer(show_progress=False, vocab_size=110,
                                   special_tokens=["<unk>"],
                                   continuing_subword_prefix="##"))


def level_bpe(regex):
    t = Tokenizer(M.BPE())
    t.pre_tokenizer = P.Sequence([P.Split(Regex(regex), "isolated"),
                                  P.ByteLevel(False, use_regex=False)])
    t.decoder = D.ByteLevel()
    trained(t, T.BpeTrainer(show_progress=False, vocab_size=300,
                            initial_alphabet=P.ByteLevel.alphabet()))
    t.add_tokens([AddedToken("ab", single_word=True)])
    return t


def of_json(name, component, t):
    answers = []
    for text in TEXTS:
        full = t.encode(text).ids
        answers.append([t.encode(text, add_special_tokens=False).ids, full,
                        t.decode(full, skip_special_tokens=False),
                        t.decode(full)])
    return {"name": name, "component": component, "answers": answers,
            "file": json.dumps(json.loads(t.to_str()), ensure_ascii=True,
                               separators=(",", ":"))}


def of_model(name, unused=False, **options):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINING), model_writer=out, minloglevel=2,
        hard_vocab_limit=False, normalization_rule_name="identity", **options)
    model = big.unused(out.getvalue()) if unused else out.getvalue()
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    answers = []
    for text in TEXTS:
        ids = sp.encode(text)
        answers.append([ids, ids, sp.decode(ids), sp.decode(ids)])
    return {"name": name, "component": "sentencepiece", "answers": answers,
            "base64": base64.b64encode(model).decode()}


def of_ranks():
    pieces = [bytes([b]) for b in range(256)]
    pieces += [p.encode() for p in (
        "th", "the", " the", "at", " c", " cat", "ca", "aa", "aaaa", "--",
        "\u732b", "\u304c\u3044", "12", "'t", "don", "  ")]
    pieces += [b"\xe7\x8c", b"\xe3\x81", b"\x8c\xe3"]
    enc = tiktoken.Encoding(
        "x", pat_str=big.PATTERNS["llama3"], special_tokens={},
        mergeable_ranks={p: i for i, p in enumerate(pieces)})
    lines = "".join(f"{base64.b64encode(p).decode()} {i}\n"
                    for i, p in enumerate(pieces))
    answers = []
    for text in TEXTS:
        ids = enc.encode(text, disallowed_special=())
        answers.append([ids, ids, enc.decode(ids), enc.decode(ids)])
    return {"name": "ranks", "component": "tiktoken", "file": lines,
            "answers": answers}


def main():
    kinds = [
        of_json("wordpiece", "wordpiece", wordpiece()),
        of_json("wordlevel", "wordlevel", wordlevel()),
        of_json("unigram", "unigram", unigram(False)),
        of_json("unigram, bytes", "unigram", unigram(True)),
        of_json("bpe, suffix", "bpe", suffix_bpe()),
        of_json("bpe, prefix", "bpe", prefix_bpe()),
        of_json("o200k", "bpe", level_bpe(big.PATTERNS["o200k"])),
        of_json("deepseek", "bpe", level_bpe(big.PATTERNS["deepseek"])),
        of_model("model, bpe", model_type="bpe", vocab_size=330,
                 byte_fallback=True, remove_extra_whitespaces=False),
        of_model("model, user", model_type="bpe", vocab_size=90,
                 user_defined_symbols=["<sep>", "hello"]),
        of_model("model, unigram", model_type="unigram", vocab_size=80,
                 user_defined_symbols=["<sep>", "ab"]),
        of_model("model, ties", model_type="unigram", vocab_size=80,
                 user_defined_symbols=["aa", "aaa"]),
        of_model("model, unused", model_type="bpe", vocab_size=120,
                 unused=True),
        of_ranks(),
    ]
    out = {"libraries": f"tokenizers {__version__}, sentencepiece "
                        f"{sentencepiece.__version__}, tiktoken "
                        f"{tiktoken.__version__}",
           "texts": TEXTS, "kinds": kinds}
    text = json.dumps(out, ensure_ascii=True, separators=(",", ":"))
    (HERE / "kinds.json").write_text(text.replace('{"name"', '\n{"name"')
                                     + "\n")


main()
