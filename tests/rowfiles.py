# SPDX-License-Identifier: MIT
"""Rows of strings written as json, jsonl, csv and Parquet, packed or not, with
nothing but Python's own library: what tests/test_formats.py and
tests/fuzz/damaged_files.py read again. The Parquet writer knows flat columns of
strings and one column of messages, every encoding of strings, pages of version
1 and 2; its snappy and Zstandard are valid and do not compress."""
import csv
import gzip
import io
import json
import struct
import zlib

PLAIN, RLE, DELTA_LENGTH, DELTA_BYTES, DICTIONARY = 0, 3, 6, 7, 8
CODECS = {"none": 0, "snappy": 1, "gzip": 2, "zstd": 6}


# ---------------------------------------------------------------- packing

def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def snappy(data):
    """Literals alone."""
    out = bytearray(varint(len(data)))
    for at in range(0, len(data), 60):
        part = data[at:at + 60]
        out.append((len(part) - 1) << 2)
        out += part
    return bytes(out)


def zstd(data):
    """A frame of raw blocks."""
    out = bytearray(b"\x28\xb5\x2f\xfd\xa0") + struct.pack("<I", len(data))
    blocks = [data[i:i + 65536] for i in range(0, len(data), 65536)] or [b""]
    for i, block in enumerate(blocks):
        last = i == len(blocks) - 1
        out += struct.pack("<I", len(block) << 3 | last)[:3] + block
    return bytes(out)


def pack(data, codec):
    return {"none": lambda d: d, "snappy": snappy,
            "gzip": lambda d: gzip.compress(d, mtime=0), "zstd": zstd}[codec](
                data)


# ----------------------------------------------------------------- thrift

def zigzag(n):
    return varint(n << 1 if n >= 0 else (-n << 1) - 1)


def value(v):
    """(type, bytes) of an int, text, bool, list or struct (a dict by id)."""
    if isinstance(v, bool):
        return (1 if v else 2), b""
    if isinstance(v, int):
        return 6, zigzag(v)
    if isinstance(v, str):
        v = v.encode()
    if isinstance(v, bytes):
        return 8, varint(len(v)) + v
    if isinstance(v, dict):
        return 12, fields(v)
    kind = value(v[0])[0] if v else 12
    size = bytes([len(v) << 4 | kind]) if len(v) < 15 \
        else bytes([0xf0 | kind]) + varint(len(v))
    return 9, size + b"".join(value(x)[1] for x in v)


class I32(int):
    """An int that is a 32-bit one in the file."""


def fields(members):
    out, last = bytearray(), 0
    for number in sorted(members):
        kind, data = value(members[number])
        if isinstance(members[number], I32):
            kind = 5
        out.append((number - last) << 4 | kind)
        out += data
        last = number
    return bytes(out) + b"\0"


# -------------------------------------------------------------- encodings

def runs(numbers, width):
    """The hybrid of runs and packed numbers, by turns."""
    out, at = bytearray(), 0
    while at < len(numbers):
        end = at
        while end < len(numbers) and numbers[end] == numbers[at]:
            end += 1
        if end - at >= 8:
            out += varint((end - at) << 1)
            out += numbers[at].to_bytes((width + 7) // 8, "little")
            at = end
        else:
            part = numbers[at:at + 8] + [0] * (8 - len(numbers[at:at + 8]))
            bits = sum(n << width * i for i, n in enumerate(part))
            out += varint(3) + bits.to_bytes(width, "little")
            at += 8
    return bytes(out)


def delta(numbers):
    out = bytearray(varint(128) + varint(4) + varint(len(numbers)))
    out += zigzag(numbers[0] if numbers else 0)
    steps = [b - a for a, b in zip(numbers, numbers[1:])]
    for at in range(0, len(steps), 128):
        block = steps[at:at + 128]
        least = min(block)
        out += zigzag(least)
        minis = [[s - least for s in block[i:i + 32]]
                 for i in range(0, 128, 32)]
        widths = [max(m, default=0).bit_length() for m in minis]
        out += bytes(widths)
        for mini, width in zip(minis, widths):
            if mini:
                bits = sum(n << width * i for i, n in enumerate(mini))
                out += bits.to_bytes(4 * width, "little")
    return bytes(out)


def prefixes(texts):
    before, out = b"", []
    for text in texts:
        n = 0
        while n < min(len(text), len(before)) and text[n] == before[n]:
            n += 1
        out.append(n)
        before = text
    return out


def encode(texts, encoding, known):
    if encoding == PLAIN:
        return b"".join(struct.pack("<I", len(t)) + t for t in texts)
    if encoding == DELTA_LENGTH:
        return delta([len(t) for t in texts]) + b"".join(texts)
    if encoding == DELTA_BYTES:
        cut = prefixes(texts)
        return delta(cut) + encode([t[n:] for t, n in zip(texts, cut)],
                                   DELTA_LENGTH, known)
    width = max(1, (len(known) - 1).bit_length())
    return bytes([width]) + runs([known.index(t) for t in texts], width)


# ---------------------------------------------------------------- parquet

class Column:
    """Entries of a leaf: (repetition, definition, text or None) each."""

    def __init__(self, path, most_rep, most_def, entries):
        self.path, self.most_rep, self.most_def = path, most_rep, most_def
        self.entries = entries


def levels(column, entries, which, most):
    if not most:
        return b""
    return runs([e[which] for e in entries], most.bit_length())


def data_page(column, entries, codec, version, encoding, known, crc):
    texts = [e[2] for e in entries if e[2] is not None]
    rep = levels(column, entries, 0, column.most_rep)
    deep = levels(column, entries, 1, column.most_def)
    body = encode(texts, encoding, known)
    if version == 1:
        for level in (deep, rep):
            if level:
                body = struct.pack("<I", len(level)) + level + body
        packed = pack(body, codec)
        head = {1: I32(0), 2: I32(len(body)), 3: I32(len(packed)),
                5: {1: I32(len(entries)), 2: I32(encoding), 3: I32(RLE),
                    4: I32(RLE)}}
    else:
        packed = rep + deep + pack(body, codec)
        head = {1: I32(3), 2: I32(len(rep + deep + body)),
                3: I32(len(packed)),
                8: {1: I32(len(entries)), 2: I32(len(entries) - len(texts)),
                    3: I32(sum(e[0] == 0 for e in entries)),
                    4: I32(encoding), 5: I32(len(deep)), 6: I32(len(rep)),
                    7: True}}
    if crc:
        check = zlib.crc32(packed)
        head[4] = I32(check - (check >> 31 << 32))
    return fields(head) + packed


def dictionary_page(known, codec):
    body = encode(known, PLAIN, None)
    packed = pack(body, codec)
    return fields({1: I32(2), 2: I32(len(body)), 3: I32(len(packed)),
                   7: {1: I32(len(known)), 2: I32(PLAIN)}}) + packed


def chunk(out, column, codec, version, encoding, per_page, crc):
    known = sorted({e[2] for e in column.entries if e[2] is not None})
    meta = {1: I32(6), 2: [I32(encoding)], 3: column.path,
            4: I32(CODECS[codec]), 5: len(column.entries)}
    if encoding == DICTIONARY:
        meta[11] = out.tell()
        out.write(dictionary_page(known, codec))
    meta[9] = out.tell()
    starts = [i for i, e in enumerate(column.entries) if e[0] == 0]
    cuts = starts[::per_page] + [len(column.entries)]
    for begin, end in zip(cuts, cuts[1:]):
        out.write(data_page(column, column.entries[begin:end], codec, version,
                            encoding, known, crc))
    meta[6] = meta[7] = out.tell() - meta.get(11, meta[9])
    return {2: meta.get(11, meta[9]), 3: meta}


def element(name, repetition=None, kind=None, children=0, converted=None):
    members = {4: name}
    if repetition is not None:
        members[3] = I32(repetition)
    if kind is not None:
        members[1] = I32(kind)
    if children:
        members[5] = I32(children)
    if converted is not None:
        members[6] = I32(converted)
    return members


def schema_and_columns(rows):
    """Texts become optional columns; a list of messages becomes a list of
    structs of two texts."""
    schema, columns = [element("schema", children=len(rows[0]))], []
    for name, first in rows[0].items():
        if isinstance(first, list):
            schema += [element(name, 1, None, 1, 3),
                       element("list", 2, None, 1),
                       element("element", 1, None, 2),
                       element("role", 1, 6, 0, 0),
                       element("content", 1, 6, 0, 0)]
            for part in ("role", "content"):
                entries = []
                for row in rows:
                    for i, turn in enumerate(row[name]):
                        text = turn[part]
                        entries.append((int(i > 0), 4 if text is not None
                                        else 3, None if text is None
                                        else text.encode()))
                    if not row[name]:
                        entries.append((0, 1, None))
                columns.append(Column([name, "list", "element", part], 1, 4,
                                      entries))
        else:
            schema.append(element(name, 1, 6, 0, 0))
            texts = [row[name] for row in rows]
            columns.append(Column([name], 0, 1, [
                (0, 0, None) if t is None else (0, 1, t.encode())
                for t in texts]))
    return schema, columns


def parquet(rows, codec="none", version=1, encoding=PLAIN, per_page=100,
            per_group=10 ** 9, crc=False):
    out, groups = io.BytesIO(), []
    out.write(b"PAR1")
    schema, _ = schema_and_columns(rows)
    for at in range(0, len(rows), per_group):
        part = rows[at:at + per_group]
        _, columns = schema_and_columns(part)
        chunks = [chunk(out, c, codec, version, encoding, per_page, crc)
                  for c in columns]
        groups.append({1: chunks, 2: 0, 3: len(part)})
    footer = fields({1: I32(1), 2: schema, 3: len(rows), 4: groups})
    out.write(footer + struct.pack("<I", len(footer)) + b"PAR1")
    return out.getvalue()


# ---------------------------------------------------------------- reading

def read_rows(out):
    """What format_rows prints: the texts of rows, what is said of damage."""
    rows, said, at = [], [], 0
    while at < len(out):
        if out[at:at + 1] == b"!":
            end = out.index(b"\n", at)
            said.append(out[at + 3:end].decode("utf-8", "replace"))
            at = end + 1
        else:
            blank = out.index(b" ", at)
            end = blank + 1 + int(out[at:blank])
            rows.append(out[blank + 1:end])
            at = end + 1
    return rows, said


# ------------------------------------------------------------------- text

def as_csv(rows, separator=","):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_json(rows):
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def as_jsonl(rows):
    return b"".join(json.dumps(r).encode() + b"\n" for r in rows)


def all_files(rows):
    """Every way to write rows of texts: {file name: bytes}."""
    files = {"r.json": as_json(rows), "r.jsonl": as_jsonl(rows),
             "objects.json": as_jsonl(rows), "comma.csv": as_csv(rows),
             "semicolon.csv": as_csv(rows, ";"), "r.tsv": as_csv(rows, "\t"),
             "bom.csv": b"\xef\xbb\xbf" + as_csv(rows)}
    for name in ("r.json", "r.jsonl", "comma.csv"):
        files[name + ".gz"] = pack(files[name], "gzip")
        files[name + ".zst"] = zstd(files[name])
    for codec in CODECS:
        files[f"{codec}.parquet"] = parquet(rows, codec)
        files[f"{codec}-2.parquet"] = parquet(rows, codec, 2, DICTIONARY, 7)
    for name, encoding in (("lengths", DELTA_LENGTH), ("prefixes", DELTA_BYTES),
                           ("dictionary", DICTIONARY)):
        files[f"{name}.parquet"] = parquet(rows, "gzip", 1, encoding, 50, 120,
                                           True)
    return files
