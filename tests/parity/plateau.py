# SPDX-License-Identifier: MIT
"""Writes tests/golden/plateau.txt: the factor after each of 300 evaluations
by torch's ReduceLROnPlateau, to which tests/test_adaptive.c holds hone's.
python3 tests/parity/plateau.py > tests/golden/plateau.txt"""
import math

import torch

CASES = [dict(patience=3, factor=0.5),
         dict(patience=2, factor=0.3, threshold=0.01, cooldown=4),
         dict(patience=0, factor=0.7, threshold=0.02, threshold_mode="abs",
              min_lr=0.05)]


def loss(i):
    """Falls, with noise; nearly the same numbers wherever sin() is."""
    return 1.5 + 2 * math.exp(-i / 60) + 0.05 * math.sin(1e3 * (i + 1))


def main():
    print(f"# torch {torch.__version__} (tests/parity/plateau.py): options as "
          "comments; loss of an evaluation, factor behind it in each case")
    schedulers = []
    for case in CASES:
        named = dict(case)
        named["min_ratio"] = named.pop("min_lr", 0)
        print("#", *(f"{k}={v}" for k, v in named.items()))
        p = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1)
        schedulers.append(torch.optim.lr_scheduler.ReduceLROnPlateau(
            p, eps=0, **case))
    for i in range(300):
        value = f"{loss(i):.9g}"
        for s in schedulers:
            s.step(float(value))
        print(value, *(f"{s.optimizer.param_groups[0]['lr']:.17g}"
                       for s in schedulers))


if __name__ == "__main__":
    main()
