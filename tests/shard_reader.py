# SPDX-License-Identifier: MIT
"""A second reader of shards, made from datasets/FORMAT.md alone."""
import array
import ctypes
import pathlib
import struct

ZSTD = ctypes.CDLL("libzstd.so.1")
ZSTD.ZSTD_decompress.restype = ctypes.c_size_t
ZSTD.ZSTD_decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t,
                                 ctypes.c_char_p, ctypes.c_size_t]
XXH = ctypes.CDLL("libxxhash.so.0")
XXH.XXH64.restype = ctypes.c_uint64
XXH.XXH64.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
NAMES = ("version width frame_tokens vocab rows tokens targets frames at bytes "
         "cut split skipped dropped broken left_out no_target all_target no_end "
         "twice_begun repeated in_train").split()


def check(data, wanted, what):
    if XXH.XXH64(data, len(data), 0) != wanted:
        raise ValueError(f"{what}: its checksum differs")


def unpack(frame, width, count, size):
    raw = ctypes.create_string_buffer(size)
    if ZSTD.ZSTD_decompress(raw, size, frame, len(frame)) != size:
        raise ValueError("a frame does not unpack")
    tokens = array.array("H" if width == 2 else "I", raw.raw[:count * width])
    mask = []
    for i, run in enumerate(array.array("H", raw.raw[count * width:])):
        mask += [i % 2] * run
    return list(tokens), mask


def rows(path):
    """[(tokens, mask, file, row), ...] of a shard, and its head."""
    data = pathlib.Path(path).read_bytes()
    head = dict(zip(NAMES, struct.unpack_from("<4I18Q", data, 8)))
    index_hash, head_hash = struct.unpack_from("<2Q", data, 200)
    if data[:8] != b"HONESHRD" or head["version"] != 2:
        raise ValueError("not a shard of version 2")
    index = data[head["at"]:head["at"] + head["bytes"]]
    check(data[:208], head_hash, "head")
    check(index, index_hash, "index")
    tokens, mask, n, out, first = [], [], head["rows"], [], 0
    for k in range(head["frames"]):
        at, size, raw, wanted = struct.unpack_from("<QIIQ", index, 24 * k)
        check(data[at:at + size], wanted, f"frame {k}")
        count = min(head["frame_tokens"], head["tokens"] - len(tokens))
        more = unpack(data[at:at + size], head["width"], count, raw)
        tokens, mask = tokens + more[0], mask + more[1]
    lengths = struct.unpack_from(f"<{n}I", index, head["bytes"] - 8 * n)
    beside = pathlib.Path(path).with_suffix(".rows").read_bytes()
    for length, origin in zip(lengths, struct.unpack_from(f"<{n}Q", beside, 32)):
        out.append((tokens[first:first + length], mask[first:first + length],
                    origin >> 40, origin & (1 << 40) - 1))
        first += length
    return out, head
