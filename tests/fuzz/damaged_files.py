#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Damaged data files: bits flipped, cut, bytes put in, parts doubled, bombs.
Each is refused by name or read right: format_rows must not crash, hang or trip
a sanitizer, and where another reader (Python's json and csv, pyarrow if it is
there) reads the damaged file, hone's rows are the same or it refuses.

    python3 tests/fuzz/damaged_files.py BUILD [FILES_OF_EACH_KIND [SEED]]

1,000 of each kind take about 4 minutes under ASan. With HONE_TEST_DATA the
test set of Parquet files is damaged too.
"""
import csv
import io
import json
import multiprocessing
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE.parent), str(HERE.parent / "parity")]
import rowfiles

try:
    import formats as parity
except ImportError:
    parity = None

TEXTS = ["plain", "", "two\nlines", 'a "quote", a comma; a\ttab', "日本語",
         "\\back\x01", "}]{[,:", "x" * 200]


def base_rows(rng):
    return [{"a": str(i), "b": rng.choice(TEXTS), "c": rng.choice(TEXTS)}
            for i in range(40)]


def base_messages(rng):
    return [{"id": str(i), "messages": [
        {"role": "user", "content": rng.choice(TEXTS + [None])}
        for _ in range(rng.randrange(4) + (i == 0))]} for i in range(40)]


def bases(rng):
    """{kind: [(ending, bytes)]}"""
    rows, messages = base_rows(rng), base_messages(rng)
    out = {"json": [], "csv": [], "parquet": []}
    for name, data in rowfiles.all_files(rows).items():
        kind = "csv" if ".csv" in name or ".tsv" in name else \
            "parquet" if ".parquet" in name else "json"
        out[kind].append((name.split(".", 1)[1], data))
    out["json"] += [("json", rowfiles.as_json(messages)),
                    ("jsonl", rowfiles.as_jsonl(messages))]
    for codec in rowfiles.CODECS:
        for version in (1, 2):
            out["parquet"].append(("parquet", rowfiles.parquet(
                messages, codec, version, rng.choice([0, 6, 7, 8]), 9, 25,
                rng.random() < 0.3)))
    if "HONE_TEST_DATA" in os.environ:
        folder = pathlib.Path(os.environ["HONE_TEST_DATA"]) / "parquet"
        out["parquet"] += [("parquet", p.read_bytes())
                           for p in sorted(folder.rglob("*.parquet"))
                           if p.stat().st_size < 20000]
    return out


# ----------------------------------------------------------------- damage

def damage(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 1, 1, 1, 2, 6])):
        at = rng.randrange(len(data)) if data else 0
        if rng.random() < 0.3:  # the ends of a file say how to read it
            at = max(0, len(data) - 1 - rng.randrange(min(600, len(data) + 1)))
        how = rng.randrange(10)
        if how < 6 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 6 and data:
            data[at] = rng.choice([0, 1, 127, 128, 255, 0x22, 0x5d, 0x0a])
        elif how == 7:
            data[at:at] = rng.randbytes(rng.choice([1, 4, 9]))
        elif how == 8:
            end = at + rng.choice([1, 8, 100])
            data[at:end] = data[at:end] * 2
        elif rng.random() < 0.5:
            del data[at:at + rng.choice([1, 2, 7, 500])]
        else:
            del data[at:]
    return bytes(data)


def bombs(rng):
    """(ending, bytes) that are small and claim or unpack to much."""
    zeros = b"\0" * (80 << 20)
    deep = b"[" * 200000
    long_value = b'{"a": "' + b"x" * (70 << 20)
    yield "json", b"[" + deep
    yield "json", b'[{"a":' + deep + b"]" * 200000 + b"}]"
    yield "jsonl", deep
    yield "jsonl", rowfiles.pack(zeros, "gzip")
    yield "jsonl", rowfiles.pack(long_value, "gzip")
    yield "jsonl", rowfiles.pack(b"\n" * (80 << 20), "gzip")
    yield "json", rowfiles.pack(b"[" + long_value, "gzip")
    yield "csv", rowfiles.pack(b"a,b\n" + b'"' + zeros, "gzip")
    yield "csv", b",".join(b"c%d" % i for i in range(5000)) + b"\n"
    yield "csv", b"a\n" + b"," * 100000
    yield "parquet", b"PAR1" + b"\x15" * 40 + b"\xff\xff\xff\x7fPAR1"
    for claim in (1 << 20, 1 << 28, 1 << 30, 2 ** 31 - 1):
        # a run of so many values in a page of a few bytes
        rows = [{"a": "x"}] * 50
        data = rowfiles.parquet(rows, "none", 1, rowfiles.DICTIONARY, 1000)
        for was in (b"\x15\x64", b"\x16\x64"):
            data = data.replace(was, was[:1] + rowfiles.zigzag(claim))
        size = data.rindex(b"PAR1") - 4
        footer = len(data) - data.rindex(b"\x15\x02\x19") - 8
        yield "parquet", data[:size] + footer.to_bytes(4, "little") + b"PAR1"
    for prefix in (1 << 20, 1 << 30):
        texts = [b"x" * 1000] + [b""] * 5000
        body = rowfiles.delta([0] + [prefix] * 5000) + rowfiles.delta(
            [len(t) for t in texts]) + b"".join(texts)
        yield "parquet", parquet_of(body, 5001)


def parquet_of(body, count):
    """A file of one required column whose only page has BODY as delta bytes."""
    head = rowfiles.fields({
        1: rowfiles.I32(0), 2: rowfiles.I32(len(body)),
        3: rowfiles.I32(len(body)),
        5: {1: rowfiles.I32(count), 2: rowfiles.I32(rowfiles.DELTA_BYTES),
            3: rowfiles.I32(3), 4: rowfiles.I32(3)}})
    meta = {1: rowfiles.I32(6), 2: [rowfiles.I32(7)], 3: ["a"],
            4: rowfiles.I32(0), 5: count, 6: 0, 7: 0, 9: 4}
    footer = rowfiles.fields({
        1: rowfiles.I32(1),
        2: [rowfiles.element("s", children=1),
            rowfiles.element("a", 0, 6, 0, 0)],
        3: count, 4: [{1: [{2: 4, 3: meta}], 2: 0, 3: count}]})
    return b"PAR1" + head + body + footer + len(footer).to_bytes(
        4, "little") + b"PAR1"


# ---------------------------------------------------------------- readers

def plugin_of(build, ending):
    name = ending.split(".")[0]
    return build / "lib/hone/plugins" / f"{'csv' if name == 'tsv' else name}.so"


def read_ours(build, ending, path):
    """Rows as Python values (None: no JSON, which the engine refuses) and
    whether anything was refused; or what went wrong."""
    done = subprocess.run([build / "bin/format_rows",
                           plugin_of(build, ending), path],
                          capture_output=True, timeout=120)
    if done.returncode:
        return None, f"exit {done.returncode}: " + done.stderr.decode(
            "utf-8", "replace")[-2000:]
    texts, said = rowfiles.read_rows(done.stdout)
    if not all(text.strip() for text in said):
        return None, "a refusal without a word"
    rows, refused = [], bool(said)
    for text in texts:
        try:
            rows.append(json.loads(text.decode("utf-8", "replace")))
        except (ValueError, RecursionError):
            refused = True
    return rows, refused


def text_of(data):
    if data[:2] == b"\x1f\x8b" or data[:4] == b"\x28\xb5\x2f\xfd":
        return None  # what can be unpacked was not damaged
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def read_json(text):
    """As an array, or as objects with white space between."""
    try:
        whole = json.loads(text)
        return whole if isinstance(whole, list) else [whole]
    except (ValueError, RecursionError):
        pass
    rows, at, decoder = [], 0, json.JSONDecoder()
    try:
        while text[at:].strip(" \t\r\n"):
            at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n"))
            row, at = decoder.raw_decode(text, at)
            rows.append(row)
    except (ValueError, RecursionError):
        return None
    return rows


def read_csv(text, ending):
    names = next(csv.reader(io.StringIO(text, newline="")), [])
    for separator in ("\t",) if ending == "tsv" else (",", ";", "\t"):
        try:
            rows = [r for r in csv.reader(io.StringIO(text, newline=""),
                                          delimiter=separator, strict=True)
                    if r]
        except csv.Error:
            return None
        if rows and len(rows[0]) == 3:
            break
    else:
        return None
    del names
    if any(len(r) != 3 for r in rows) or len(set(rows[0])) != 3:
        return None
    return [dict(zip(rows[0], r)) for r in rows[1:]]


def read_parquet(queue, path):
    try:
        queue.put(parity.theirs(path))
    except BaseException:
        queue.put(None)


def read_theirs(ending, path, data):
    """The rows of the damaged file as another reader has them; None: it
    refuses, or there is none."""
    if ending == "parquet":
        if not parity:
            return None
        queue = multiprocessing.Queue()
        child = multiprocessing.Process(target=read_parquet,
                                        args=(queue, path))
        child.start()
        try:
            return queue.get(timeout=20)
        except Exception:
            return None  # it crashed
        finally:
            child.kill()
            child.join()
    text = text_of(data)
    if text is None:
        return None
    if ending == "jsonl":
        try:
            return [json.loads(line) for line in text.split("\n")
                    if line.strip(" \t\r")]
        except (ValueError, RecursionError):
            return None
    if ending == "json":
        return read_json(text)
    return read_csv(text, ending)


def same(a, b):
    if parity:
        return len(a) == len(b) and all(map(parity.same, a, b))
    return a == b


def difference(rows, wanted):
    pairs = [(a, b) for a, b in zip(rows, wanted) if not same([a], [b])]
    return f"{len(rows)} rows and {len(wanted)}; {pairs[:1]}"


# ------------------------------------------------------------------- a run

class Counts(dict):
    def add(self, what):
        self[what] = self.get(what, 0) + 1


def judge(build, folder, ending, data, counts, original):
    path = folder / f"x.{ending}"
    path.write_bytes(data)
    try:
        rows, refused = read_ours(build, ending, path)
    except subprocess.TimeoutExpired:
        return "hangs"
    if rows is None:
        return refused
    if refused:
        counts.add("refused")
        return None
    wanted = read_theirs(ending, path, data)
    if wanted is not None:
        counts.add("read as the other reader does")
        return None if same(rows, wanted) else difference(rows, wanted)
    if original is not None and same(rows, original):
        counts.add("read as before the damage")
    else:
        counts.add("read, and no other reader does")
    return None


def keep(ending, data, seed, why):
    path = pathlib.Path(tempfile.gettempdir()) / f"fuzz-{seed}.{ending}"
    path.write_bytes(data)
    print(f"WRONG: {path}: {why[:3000]}")


def run(build, kind, files, count, seed, folder):
    counts, wrong = Counts(), 0
    originals = {}
    for i in range(count):
        rng = random.Random(f"{seed} {kind} {i}")
        ending, data = rng.choice(files)
        if data not in originals:
            path = folder / f"x.{ending}"
            path.write_bytes(data)
            originals[data] = read_ours(build, ending, path)[0]
        data, original = damage(data, rng), originals[data]
        why = judge(build, folder, ending, data, counts, original)
        if why:
            keep(ending, data, f"{seed}-{kind}-{i}", why)
            wrong += 1
    print(f"{kind}: {count} files:", ", ".join(
        f"{n} {what}" for what, n in sorted(counts.items())))
    return wrong


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    wrong, bombed = 0, 0
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        for kind, files in bases(random.Random(seed)).items():
            wrong += run(build, kind, files, count, seed, folder)
        for i, (ending, data) in enumerate(bombs(random.Random(seed))):
            path = folder / f"x.{ending}"
            path.write_bytes(data)
            rows, refused = read_ours(build, ending, path)
            bombed += 1
            if rows is None:
                keep(ending, data[:1 << 20], f"bomb-{i}", refused)
                wrong += 1
    print(f"bombs: {bombed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
