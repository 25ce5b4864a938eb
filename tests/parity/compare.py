#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""For developers: hone against a run of Transformers + PEFT, tensor by tensor.

    compare.py tensors A B          two files of tensors: gradients of step 1
    compare.py update START A B     weights after training, as a share of the
                                    way from START to B

A and START are hone's or PEFT's names, matched by their last parts. Prints
the difference in the L2 norm. Needs numpy and safetensors."""
import math
import sys

import numpy
from safetensors.numpy import load_file


def plain(name):
    for part in ("base_model.model.", ".default"):
        name = name.replace(part, "")
    return name


def read(path):
    return {plain(n): v.astype(numpy.float64)
            for n, v in load_file(path).items()}


def norm(tensors):
    return math.sqrt(sum(float((t * t).sum()) for t in tensors))


def main(what, *paths):
    *start, a, b = [read(p) for p in paths]
    missing = set(a) ^ set(b)
    if missing:
        sys.exit("only in one of them: %s" % ", ".join(sorted(missing)))
    off = norm(a[n] - b[n] for n in b)
    whole = norm(b[n] - start[0][n] if start else b[n] for n in b)
    worst = max(b, key=lambda n: norm([a[n] - b[n]]))
    print("%d tensors, L2 of the difference %.3e of %s %.6g; most in %s" %
          (len(b), off / whole, "the update" if what == "update" else "all",
           whole, worst))


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in ("tensors", "update"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
