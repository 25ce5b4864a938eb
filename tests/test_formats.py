#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The same rows from every format give the same shard, byte for byte; lists of
messages come out of Parquet as they went in; folders, patterns and packed
files; the shape of rows is recognised. With HONE_TEST_DATA every Parquet file
of the format's own test set is read as tests/golden/parquet_rows.txt says,
which tests/parity/formats.py has held to pyarrow."""
import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zlib

import rowfiles

BUILD = pathlib.Path(sys.argv[1]).resolve()
SOURCE = pathlib.Path(__file__).resolve().parents[1]
RECIPE = """local hone = require "hone"
return hone.train {
  model = hone.model "%s",
  data = hone.data%s { %s },
  batch = hone.pack {}, optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
"""
ODD = ["plain", "", "two\nlines\r\nand more", 'a "quote", a comma; a\ttab',
       "日本語 \U0001f600", " spaces ", "\\back \x01\x1f\x7f", "x" * 3000, "'",
       "}]{[,:", "null", "0"]


def expect(what, truth, got=""):
    if not truth:
        sys.exit(f"test_formats: {what}\n{got}")


def read_by_plugin(path):
    name = path.name.split(".")[1]
    plugin = BUILD / "lib/hone/plugins" / f"{ {'tsv': 'csv'}.get(name, name)}.so"
    return subprocess.run([BUILD / "bin/format_rows", plugin, path],
                          capture_output=True, check=True)


def rows_of(path):
    """Rows and messages about damage."""
    rows, said = rowfiles.read_rows(read_by_plugin(path).stdout)
    return [json.loads(row.decode("utf-8", "replace")) for row in rows], said


def prep(folder, shape, options, *words, model=SOURCE / "datasets/tiny"):
    recipe = folder / "recipe.lua"
    recipe.write_text(RECIPE % (model, shape, options))
    done = subprocess.run(
        [BUILD / "bin/hone", "prep", recipe, *words], text=True,
        capture_output=True, env=dict(os.environ, HONE_CACHE=folder / "cache"),
        timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_same_shards(folder):
    rows = [{"instruction": f"{i} {ODD[i % len(ODD)]}",
             "input": ODD[i * 5 % len(ODD)], "output": ODD[i * 7 % len(ODD)]}
            for i in range(300)]
    shards = set()
    for name, data in rowfiles.all_files(rows).items():
        (folder / name).write_bytes(data)
        code, out, err = prep(folder, ".alpaca", f'"{name}", val = 20')
        expect(name, code == 0, err)
        shards.add(tuple(pathlib.Path(p).read_bytes()
                         for p in out.split("\n")[:2]))
        expect(f"{name}: another shard", len(shards) == 1)
        told = read_by_plugin(folder / name).stderr
        expect(f"{name}: not read to its end", told == b"share 1.00\n", told)


def test_messages(folder):
    rows = [{"id": str(i), "messages": [
        {"role": "user", "content": f"q{i}"},
        {"role": "assistant", "content": None if i % 5 == 0 else "x" * i}][
            :i % 3]} for i in range(100)]
    rows[0]["messages"] = [{"role": "user", "content": "q"}]
    for codec in rowfiles.CODECS:
        for version in (1, 2):
            path = folder / "m.parquet"
            path.write_bytes(rowfiles.parquet(
                rows, codec, version, rowfiles.DICTIONARY, 9, 40, True))
            expect(f"messages, {codec}, {version}",
                   rows_of(path) == (rows, []), rows_of(path))


# Two rows { text, n }, n being 2^64 - 1 and 7. With pyarrow: pq.write_table(
# pa.table({"text": ["a b", "c d"], "n": pa.array([2**64 - 1, 7],
# pa.uint64())}), FILE, compression="NONE", store_schema=False,
# write_statistics=False, use_dictionary=False)
LARGE = """
UEFSMRUAFSgVKCwVBBUAFQYVBhwAAAACAAAABAEDAAAAYSBiAwAAAGMgZBUAFSwVLCwVBBUAFQYVBh
wAAAACAAAABAH//////////wcAAAAAAAAAFQQZPDUAGAZzY2hlbWEVBAAVDCUCGAR0ZXh0JQBMHAAA
ABUEJQIYAW4lHEysE0ASAAAAFgQZHBksJgAcFQwZJQYAGRgEdGV4dBUAFgQWThZOJghJHBUAFQAVAg
A8FgwZBhkmAAQAAAAmABwVBBklBgAZGAFuFQAWBBZSFlImVkkcFQAVABUCADwpBhkmAAQAAAAWoAEW
BCYIFqABACggcGFycXVldC1jcHAtYXJyb3cgdmVyc2lvbiAyNi4wLjEZLBwAABwAAADIAAAAUEFSMQ
=="""


def test_large_numbers(folder):
    """A whole number beyond 63 bits does not cost its row."""
    (folder / "n.parquet").write_bytes(base64.b64decode(LARGE))
    expect("as a real", rows_of(folder / "n.parquet") == (
        [{"text": "a b", "n": 2.0**64}, {"text": "c d", "n": 7}], []))
    code, out, err = prep(folder, ".text", '"n.parquet"', "--json")
    expect("prepared", code == 0 and json.loads(out)["train"]["rows"] == 2,
           out + err)


def test_text(folder):
    (folder / "t.txt").write_bytes(b"\xef\xbb\xbf\n\na\r\nb\n\n\nc \"d\"\n")
    for how, texts in (("line", ["a", "b", 'c "d"']),
                       ("paragraph", ["a\nb", 'c "d"']),
                       ("file", ['\n\na\r\nb\n\n\nc "d"\n'])):
        code, out, err = prep(folder, ".text",
                              f'"t.txt", document = "{how}"', "--json")
        expect(how, code == 0 and json.loads(out)["train"]["rows"] ==
               len(texts), out + err)
    expect("txt", rows_of(folder / "t.txt")[0] ==
           [{"text": t} for t in ("a", "b", 'c "d"')])


def test_places(folder):
    row = b'{"text": "a b c"}\n'
    for path in ("d/z.jsonl", "d/a/b.jsonl", "d/b.csv", "d/.hidden.jsonl",
                 "d/README.md", "t/train-1.jsonl", "t/test-1.jsonl"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"text\na b c\n" if path.endswith("csv")
                                    else row)
    for names, order in (
            ('"d"', ["d/a/b.jsonl", "d/b.csv", "d/z.jsonl"]),
            ('"d/*.jsonl", "d/b.csv"', ["d/z.jsonl", "d/b.csv"]),
            ('"d/[a-m]*"', ["d/a/b.jsonl", "d/b.csv"]),
            ('"t"', ["t/train-1.jsonl"])):
        code, out, err = prep(folder, ".text", names, "--show", "9")
        shown = [line.split("--- ")[1].split(": row")[0]
                 for line in out.split("\n") if line.startswith("--- ")]
        expect(names, shown == [str(folder / p) for p in order], out + err)
    code, out, err = prep(folder, ".text", '"d/z.jsonl", val = "d/*.csv"',
                          "--json")
    expect("val as a pattern", code == 0 and
           json.loads(out)["val"]["rows"] == 1, err)
    for names, word in (('"d/z.jsonl", val = "d/*"', "is several"),
                        ('"d/*.parquet"', "no file is called so"),
                        ('"e"', "No such file"), ('"d/a"', "")):
        code, _, err = prep(folder, ".text", names)
        expect(names, (code == 2) == bool(word) and word in err, err)


def test_recognised(folder):
    for row, shape in (
            ({"instruction": "a", "output": "b"}, "alpaca"),
            ({"instruction": "a", "response": "b"}, 'output = "response"'),
            ({"question": "a", "answer": "b"}, 'prompt = "question"'),
            ({"prompt": "a", "completion": "b"}, "prompt_completion"),
            ({"text": "a b"}, "text"),
            ({"input_ids": [1, 2, 3]}, "tokenized"),
            ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference")):
        (folder / "r.json").write_text(json.dumps([row]))
        code, _, err = prep(folder, "", '"r.json"')
        expect(f"{row}", code == 0 and shape in err, err)
    (folder / "r.json").write_text('[{"a": 1}]')
    code, _, err = prep(folder, "", '"r.json"')
    expect("none of them", code == 2 and "no shape" in err, err)
    for rows, words in (('[{"a": x}]', "row 1: invalid token"),
                        ("[1]", "row 1: no object"), ("[]", "no row that can")):
        (folder / "r.json").write_text(rows)
        code, _, err = prep(folder, "", '"r.json"')
        expect(rows, code == 2 and words in err and "r.json" in err, err)


def test_damage(folder):
    for name, data, rows, words in (
            ("a.csv", b"a,b\n1,2\n3\n4,5\n", 2,
             ["row 2 (line 3): 1 fields, and the first line names 2"]),
            ("b.csv", b'a,b\n"1"x,2\n4,5\n', 1, ["row 1 (line 2): text behind"]),
            ("c.csv", b'a,b\n1,2\n"1,2\n4,5\n', 1, [":3: the row that begins"]),
            ("d.csv", b"a,a\n1,2\n", 0, ["two columns"]),
            ("e.csv", "a,b\n".encode("utf-16"), 0, ["UTF-16"]),
            ("f.json", b'{"a": 1} {"a": 2}\n{"a"', 2, ["does not end"]),
            ("g.jsonl", rowfiles.pack(b'{"a": 1}\n' * 9, "gzip")[:-9], 9,
             ["cut short"]),
            ("h.jsonl", rowfiles.zstd(b'{"a": 1}\n' * 9)[:-9], 8,
             ["cut short"]),
            ("i.parquet", b"PAR1 and more bytes", 0, ["no Parquet file"])):
        path = folder / name
        path.write_bytes(data)
        got, said = rows_of(path)
        expect(name, len(got) == rows and len(said) == len(words) and
               all(w in s for w, s in zip(words, said)), (got, said))


def test_unopened(folder):
    """A file that cannot be opened is an error of prep, not its end."""
    for name, data, word in (
            ("a.csv", b"", "the file is empty"),
            ("b.csv", b"text,text\n1,2\n", "two columns have the same name"),
            ("c.csv", b'text,"a', "not closed"),
            ("d.csv", "text\n1\n".encode("utf-16"), "UTF-16"),
            ("e.txt", "1\n".encode("utf-16"), "UTF-16"),
            ("f.parquet", b"PAR1", "Parquet")):
        (folder / name).write_bytes(data)
        for more in ("", ", val = 0.5", ', broken = "skip"'):
            code, _, err = prep(folder, ".text", f'"{name}"{more}')
            expect(name, code == 2 and word in err and name in err,
                   f"{code} {err}")


def test_pipe(folder):
    """A pipe is refused at once; nobody would write into it twice."""
    os.mkfifo(folder / "p.jsonl")
    for shape in ("", ".text"):
        code, _, err = prep(folder, shape, '"p.jsonl"')
        expect("a pipe", code == 2 and "p.jsonl: a pipe" in err, err)


def test_skipped(folder):
    """broken = "skip" leaves damaged rows out and counts them."""
    (folder / "s.csv").write_bytes(b'text\na b\nc,d\n"e"f\ng h\n')
    (folder / "s.json").write_bytes(b'[{"text": "a b"}, {"text": }, {"x": 1}]')
    for name, rows, broken in (("s.csv", 2, 2), ("s.json", 1, 2)):
        code, _, err = prep(folder, ".text", f'"{name}"', "--json")
        expect(name, code == 2 and f"{name}: row 2" in err, err)
        code, out, err = prep(folder, ".text", f'"{name}", broken = "skip"',
                              "--json")
        counts = json.loads(out)["train"]
        expect(name, (counts["rows"], counts["broken"]) == (rows, broken) and
               err.count("left out") >= broken, (out, err))


def test_bombs(folder):
    """What is packed small and is large does not stay long."""
    path = folder / "z.jsonl"
    path.write_bytes(rowfiles.pack(b'{"a": "' + b"x" * (65 << 20) + b'"}\n{"a"'
                                   b": 1}\n", "gzip"))
    got, said = rows_of(path)
    expect("a long row costs itself", got == [{"a": 1}] and
           "longer than 64 MiB" in said[0], said)


def count_of(path):
    """Rows as Python reads them; of the Parquet file the test set has one."""
    if path.suffix == ".parquet":
        return 7473
    text = path.read_text()
    if path.suffix == ".txt":
        return sum(bool(line) for line in text.split("\n"))
    if text.lstrip().startswith("["):
        return len(json.loads(text))
    return sum(bool(line.strip()) for line in text.split("\n"))


# What the shape of rows follows from: the folder's files that are prepared as
# they are, with rows that have no target or other rows of tokens.
MATERIAL = {
    "instruct/alpaca_fmt/*.json": "alpaca", "instruct/axolotl/alpaca.json":
    "alpaca", "instruct/axolotl/*tokenized*.json": "tokenized",
    "instruct/llamafactory/alpaca_*.json": "alpaca",
    "instruct/llamafactory/identity.json": "alpaca",
    "instruct/torchtune/alpaca_tiny.json": "alpaca",
    "instruct/torchtune/instruct_tiny.json": "alpaca",
    "instruct/torchtune/stack_exchange_paired_tiny.json": "preference",
    "parquet/gsm8k_verl_train.parquet": "prompt_completion",
    "corpora/*.txt": "text",
}


def test_material(folder):
    data = os.environ.get("HONE_TEST_DATA")
    if not data:
        print("HONE_TEST_DATA is not set: no datasets of the test material")
        return
    paths = [(p, shape) for pattern, shape in MATERIAL.items()
             for p in sorted(pathlib.Path(data).glob(pattern))]
    expect("the material is there", len(paths) >= 14, paths)
    for path, shape in paths:
        if shape == "tokenized":  # made by tokenizers with more ids
            continue
        code, out, err = prep(folder, "", f'"{path}"', "--json")
        expect(path, code == 0 and f"taken for {shape}" in err, err)
        counts = json.loads(out)["train"]
        rows = counts["rows"] // (2 if shape == "preference" else 1)
        expect(path, rows + counts["skipped"] == count_of(path),
               f"{rows} {count_of(path)}")
        expect(path, counts["target_tokens"] > rows)
        code, out, err = prep(folder, "", f'"{path}"', "--show", "2")
        expect(f"{path}, shown", code == 0 and out.count("\n--- ") == 2,
               out + err)


# What the model's chat template writes, and ids that others made. Rows, tokens
# and targets with the tokenizer that is named.
CHATS = {
    "axolotl/conversation.json": ("qwen3", "sharegpt", 1, 1909, 1769),
    "axolotl/conversation.missingturns.json":
        ("qwen3", "sharegpt", 1, 1790, 1650),
    "axolotl/conversation.tokenized.json":
        ("llama2", "tokenized", 1, 1970, 1798),
    "axolotl/conversation.tokenized_llama2chat.json":
        ("llama2", "tokenized", 1, 4096, 1793),
    "llamafactory/dpo_en_demo.json":
        ("qwen3", "preference", 600, 436889, 189827),
    "llamafactory/dpo_zh_demo.json":
        ("qwen3", "preference", 600, 216823, 137165),
    "llamafactory/glaive_toolcall_en_demo.json":
        ("qwen3", "sharegpt", 300, 169780, 91876),
    "llamafactory/glaive_toolcall_zh_demo.json":
        ("qwen3", "sharegpt", 300, 156927, 77786),
    "llamafactory/kto_en_demo.json": ("qwen3", "messages", 300, 188771, 143195),
    "llamafactory/reason_tool_use_demo_50.jsonl":
        ("qwen3", "messages", 50, 59191, 24508),
    "llamafactory/v1_dpo_demo.jsonl": ("qwen3", "preference", 20, 5482, 2742),
    "llamafactory/v1_sft_demo.jsonl": ("qwen3", "messages", 500, 79071, 66155),
    "torchtune/chat_tiny.json": ("qwen3", "sharegpt", 1, 58, 18),
    "torchtune/hh_rlhf_tiny.json": ("qwen3", "preference", 2, 62, 18),
}


def model_of(folder, data, name):
    """A tokenizer of the material with its chat template, as a model."""
    to = folder / name
    if not to.exists():
        to.mkdir()
        for path in (pathlib.Path(data) / "tokenizers" / name).iterdir():
            (to / path.name).symlink_to(path)
        config = json.loads((SOURCE / "datasets/tiny/config.json").read_text())
        (to / "config.json").write_text(json.dumps(
            dict(config, vocab_size=151936)))
    return to


def test_chat_material(folder):
    data = os.environ.get("HONE_TEST_DATA")
    if not data:
        print("HONE_TEST_DATA is not set: no chats of the test material")
        return
    for name, (tokens, shape, *want) in CHATS.items():
        path = f'"{data}/instruct/{name}"'
        model = model_of(folder, data, tokens)
        code, out, err = prep(folder, "", path, "--json", model=model)
        expect(name, code == 0 and f"taken for {shape}" in err, err)
        counts = json.loads(out)["train"]
        got = [counts[k] for k in ("rows", "tokens", "target_tokens")]
        expect(name, got == want, f"{got}, not {want}")
        code, out, err = prep(folder, "", path, "--show", "2", model=model)
        expect(name, code == 0 and out.count("\n--- ") == min(2, want[0]), out)


def test_mapped_material(folder):
    """Rows that fit no shape, by a function."""
    data = os.environ.get("HONE_TEST_DATA")
    if not data:
        return
    path = f"{data}/instruct/japanese/jcommonsenseqa_train_v1.3.jsonl"
    options = f"""
        "{path}", map = function(row)
          return {{ prompt = row.question .. "\\n",
                    completion = row["choice" .. row.label] }}
        end"""
    code, out, err = prep(folder, ".prompt_completion", options, "--json")
    expect(path, code == 0 and json.loads(out)["train"]["rows"] ==
           count_of(pathlib.Path(path)), out + err)
    code, out, err = prep(folder, ".prompt_completion", options, "--show", "2")
    expect(path, code == 0 and out.count("\n--- ") == 2, out + err)


def test_parquet_goldens(_):
    data = os.environ.get("HONE_TEST_DATA")
    if not data:
        print("HONE_TEST_DATA is not set: no Parquet test set")
        return
    for line in (SOURCE / "tests/golden/parquet_rows.txt").open():
        if line[0] == "#":
            continue
        name, count, crc, said = line.rstrip("\n").split("\t")
        path = pathlib.Path(data) / "parquet" / name
        out = subprocess.run([BUILD / "bin/format_rows",
                              BUILD / "lib/hone/plugins/parquet.so", path],
                             capture_output=True, check=True).stdout
        rows, said_here = rowfiles.read_rows(out)
        damage = "".join(said_here)
        expect(name, len(rows) == int(count) and
               zlib.crc32(b"\n".join(rows)) == int(crc, 16) and
               damage.endswith(said) and bool(damage) == bool(said), damage)


for test in [f for n, f in sorted(globals().items()) if n.startswith("test_")]:
    with tempfile.TemporaryDirectory() as place:
        test(pathlib.Path(place))
        print("ok", test.__name__)
