#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rows that hone reads from Parquet files against pyarrow's, value by value:

    python3 tests/parity/formats.py BUILD FILE.parquet...

Needs pyarrow (held to 26.0). Says of each file whether the rows are equal, or
what either of the two refuses. Known differences: times as texts, decimals as
texts, no number for NaN and infinities.
"""
import datetime
import json
import math
import pathlib
import struct
import subprocess
import sys
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import rowfiles


def plain(v, t):
    """A value of pyarrow's as it stands in hone's rows."""
    if v is None:
        return None
    if pa.types.is_struct(t):
        return {f.name: plain(v[f.name], f.type) for f in t}
    if pa.types.is_map(t):
        keys = [plain(k, t.key_type) for k, _ in v]
        return {k if isinstance(k, str) else json.dumps(k):
                plain(x, t.item_type) for k, (_, x) in zip(keys, v)}
    if pa.types.is_list(t) or pa.types.is_large_list(t):
        return [plain(x, t.value_type) for x in v]
    if pa.types.is_floating(t):
        v = float(v)
        return v if math.isfinite(v) else None
    if pa.types.is_decimal(t):
        return format(v, "f")
    if isinstance(v, bytes):
        return v.decode("utf-8", "replace")
    if isinstance(v, uuid.UUID):
        return str(v)
    if isinstance(v, datetime.datetime):
        return v.strftime("%Y-%m-%dT%H:%M:%S")
    if isinstance(v, (datetime.date, datetime.time)):
        return v.isoformat()
    return v


def single(x):
    try:
        return struct.unpack("f", struct.pack("f", x))[0]
    except OverflowError:
        return x


def same(a, b):
    """Hone's value and pyarrow's; floats of 32 bits have fewer digits, times
    more."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or single(a) == single(b)
    if isinstance(a, str) and isinstance(b, str) and a != b:
        return len(b) == 19 and b[10] == "T" and a.startswith(b)
    return a == b


def theirs(path, checksums=True):
    table = pq.read_table(path, page_checksum_verification=checksums)
    types = {f.name: f.type for f in table.schema}
    return [{k: plain(v, types[k]) for k, v in row.items()}
            for row in table.to_pylist()]


def ours(build, path):
    out = subprocess.run(
        [build / "bin/format_rows", build / "lib/hone/plugins/parquet.so",
         path], capture_output=True, check=True).stdout
    rows, said = rowfiles.read_rows(out)
    return ([json.loads(r.decode("utf-8", "replace")) for r in rows],
            "".join(said))


def compare(build, path):
    got, refusal = ours(build, path)
    try:
        wanted = theirs(path)
    except Exception as error:
        said = str(error).splitlines()[0]
        return f"pyarrow refuses ({said}); hone: {refusal or len(got)}"
    if refusal:
        return f"hone refuses ({refusal}); pyarrow: {len(wanted)}"
    if len(got) != len(wanted):
        return f"DIFFERENT: {len(got)} and {len(wanted)} rows"
    for i, (a, b) in enumerate(zip(got, wanted)):
        if not same(a, b):
            return f"DIFFERENT in row {i + 1}: {a} and {b}"
    return f"equal: {len(got)} rows"


if __name__ == "__main__":
    for name in sys.argv[2:]:
        print(name, compare(pathlib.Path(sys.argv[1]), name), sep=": ")
