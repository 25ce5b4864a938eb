#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Cells of the table of docs/memory.md, made anew: what it says fits, as fast,
and the next size does not. No GPU is needed, but the pack for it."""
import os
import pathlib
import sys
import tempfile

import contexts

BUILD = pathlib.Path(sys.argv[1])
CELLS = (("rtx-4090", ["Llama-3.2-1B"]), ("h100-80gb", ["Llama-3.1-8B"]),
         ("t4", ["Llama-3.2-3B"]))


def main():
    if not (BUILD / "lib/hone/plugins/cuda.so").exists():
        print("skipped: no pack for GPUs was built, which plans ask")
        return
    hone = str(BUILD / "bin/hone")
    with tempfile.TemporaryDirectory(prefix="hone-contexts-") as temporary:
        folder = pathlib.Path(temporary)
        os.environ["HONE_CACHE"] = str(folder / "cache")
        contexts.prepare(folder)
        for card, models in CELLS:
            contexts.check(hone, folder, card, models)


if __name__ == "__main__":
    main()
