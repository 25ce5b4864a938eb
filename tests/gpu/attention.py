# SPDX-License-Identifier: MIT
"""attention.py -- cuDNN's attention through PyTorch at the shapes of
attention.c: forward and backward, milliseconds and TFLOP/s, and whether two
runs of the backward pass gave the same bits."""
import statistics

import torch
import torch.nn.functional as functional
from torch.nn.attention import SDPBackend, sdpa_kernel

SHAPES = [(4, 2048, 32, 8, 128), (1, 8192, 32, 8, 128), (16, 512, 32, 8, 128),
          (4, 2048, 32, 8, 64), (1, 8192, 32, 8, 64), (8, 1024, 9, 3, 64),
          (4, 2048, 8, 4, 256)]


def clock(call, runs=10, rounds=5):
    times = []
    call()
    for _ in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(runs):
            call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / runs)
    return min(times)


def tensor(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16) \
        .transpose(1, 2)


def line(docs, length, heads, kv_heads, d):
    q, do = (tensor(docs, length, heads, d) for _ in range(2))
    k, v = (tensor(docs, length, kv_heads, d) for _ in range(2))
    inputs = [x.requires_grad_() for x in (q, k, v)]

    def forward():
        return functional.scaled_dot_product_attention(
            *inputs, is_causal=True, enable_gqa=True)

    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        ahead = clock(forward)
        out = forward()

        def backward():
            return torch.autograd.grad(out, inputs, do, retain_graph=True)

        back = clock(backward)
        same = all(torch.equal(x, y) for x, y in zip(backward(), backward()))
    products = docs * length * length * heads * d * 1e-9
    return "%8.3f ms %5.0f %9.3f ms %5.0f  %s" % (
        ahead, 2 * products / ahead, back, 5 * products / back,
        "same bits" if same else "other bits")


def main():
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        print("cuDNN %s, PyTorch %s%s" % (
            torch.backends.cudnn.version(), torch.__version__,
            ", deterministic" if deterministic else ""))
        for shape in SHAPES:
            try:
                text = line(*shape)
            except RuntimeError as e:
                print("PyTorch refuses: %s" % str(e).splitlines()[0])
                break
            print("%2d x %-5d %2d/%d heads of %-4d %s" % (*shape, text),
                  flush=True)


main()
