# SPDX-License-Identifier: MIT
"""Writes tests/golden/optimizers.txt: parameters after steps 1, 10 and 100 of
torch's SGD and AdamW, of Transformers' Adafactor, of Lion as its paper writes
it, and of Muon as its authors publish it, all in double precision. tests/test_optimizer_golden.c
holds hone's optimizers to them.
python3 tests/parity/optimizers.py > tests/golden/optimizers.txt"""
import torch
from transformers.optimization import Adafactor

STEPS, SHOWN = 100, (1, 10, 100)
# As tests/test_optimizer_golden.c has them; by their names Muon leaves
# some to AdamW.
PARAMS = [("model.embed_tokens.weight", (8, 5)),
          ("model.layers.0.mlp.up_proj.weight", (12, 5)),
          ("model.layers.0.mlp.down_proj.weight", (5, 12)),
          ("model.norm.weight", (7,))]


class Numbers:
    """eager_random() of tests/eager.h: uniform in [-1, 1], exact in float."""

    def __init__(self):
        self.seed = 1

    def draw(self, shape):
        n = torch.Size(shape).numel()
        out = []
        for _ in range(n):
            self.seed = (self.seed * 6364136223846793005 +
                         1442695040888963407) % 2**64
            top = self.seed >> 40
            out.append(top / 8388608.0 - 1)
        return torch.tensor(out, dtype=torch.float64).reshape(shape)


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of arXiv:2302.06675."""

    def __init__(self, params, lr, betas, weight_decay):
        super().__init__(params, dict(lr=lr, betas=betas,
                                      weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                c = b1 * m + (1 - b1) * p.grad
                p -= group["lr"] * (c.sign() + group["weight_decay"] * p)
                m.copy_(b2 * m + (1 - b2) * p.grad)


def orthogonal(g):
    """The authors' zeropower, its bfloat16 left out."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.T if g.size(0) > g.size(1) else g
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    return x.T if g.size(0) > g.size(1) else x


class Muon(torch.optim.Optimizer):
    """The authors' Muon with Nesterov's momentum for its parameters."""

    def __init__(self, params, lr, momentum, weight_decay):
        super().__init__(params, dict(lr=lr, momentum=momentum,
                                      weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta = group["momentum"]
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - beta)
                update = orthogonal(p.grad.lerp(m, beta))
                update *= max(1, p.size(0) / p.size(1)) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"])


def decayed(params, decay):
    """hone's rule: weight decay on tensors of two dimensions and more."""
    return [dict(params=[p for p in params if p.ndim >= 2],
                 weight_decay=decay),
            dict(params=[p for p in params if p.ndim < 2], weight_decay=0)]


def sgd(**options):
    return lambda p: [torch.optim.SGD(decayed(p, 0.1), lr=1, **options)]


def adamw(p):
    return [torch.optim.AdamW(decayed(p, 0.1), lr=1, betas=(0.9, 0.95),
                              eps=1e-8)]


def lion(p):
    return [Lion(decayed(p, 0.1), lr=1, betas=(0.9, 0.99), weight_decay=0)]


def muon(p):
    rest = torch.optim.AdamW(decayed([p[0], p[3]], 0.1), lr=1,
                             betas=(0.9, 0.95), eps=1e-10)
    rest.share = 3e-4 / 2e-2
    return [Muon([p[1], p[2]], 1, 0.95, 0.1), rest]


def adafactor(scale):
    return lambda p: [Adafactor(decayed(p, 0.1), lr=1, scale_parameter=scale,
                              relative_step=False)]


# hone's optimizer and options, its rate at the last step, torch's like.
CASES = [
    ("sgd weight_decay=0.1", 2e-2, sgd()),
    ("sgd weight_decay=0.1 momentum=0.9", 2e-2, sgd(momentum=0.9)),
    ("sgd weight_decay=0.1 momentum=0.9 nesterov=1", 2e-2,
     sgd(momentum=0.9, nesterov=True)),
    ("adamw weight_decay=0.1 beta2=0.95", 2e-3, adamw),
    ("lion weight_decay=0.1", 2e-3, lion),
    ("muon weight_decay=0.1", 2e-2, muon),
    ("adafactor weight_decay=0.1", 2e-3, adafactor(False)),
    ("adafactor weight_decay=0.1 scale_parameter=1", 2e-2, adafactor(True)),
]


def run(rate, make):
    numbers = Numbers()
    params = [numbers.draw(shape).requires_grad_() for _, shape in PARAMS]
    optimizers = make(params)
    for t in range(1, STEPS + 1):
        for p, (_, shape) in zip(params, PARAMS):
            p.grad = numbers.draw(shape)
        lr = torch.tensor(rate * t / STEPS, dtype=torch.float32).item()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr * getattr(optimizer, "share", 1)
            optimizer.step()
        if t in SHOWN:
            values = torch.cat([p.detach().flatten() for p in params])
            print(t, *(f"{v:.9g}" for v in values.tolist()))


def main():
    print(f"# tests/parity/optimizers.py, torch {torch.__version__}: "
          f"case, rate of step {STEPS}; step, parameters")
    for name, rate, make in CASES:
        print(f"{name} : {rate:g}")
        run(rate, make)


if __name__ == "__main__":
    main()
