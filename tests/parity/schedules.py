# SPDX-License-Identifier: MIT
"""Writes tests/golden/schedules.txt: the factors of Transformers' schedules
over 1,000 steps, which tests/test_schedule.c holds hone's to.
python3 tests/parity/schedules.py > tests/golden/schedules.txt"""
import torch
import transformers
from transformers import optimization as o

STEPS = 1000
PEAK = 2e-3
# hone's constructor and options, and Transformers' with the same meaning.
CASES = [
    ("constant warmup=100",
     o.get_constant_schedule_with_warmup, dict(num_warmup_steps=100)),
    ("linear warmup=0.03",
     o.get_linear_schedule_with_warmup, dict(num_warmup_steps=30)),
    ("cosine warmup=0.03",
     o.get_cosine_schedule_with_warmup, dict(num_warmup_steps=30)),
    ("polynomial warmup=50 power=2 lr_end=0.05",
     o.get_polynomial_decay_schedule_with_warmup,
     dict(num_warmup_steps=50, power=2, lr_end=0.05 * PEAK)),
    ("inverse_sqrt warmup=70",
     o.get_inverse_sqrt_schedule, dict(num_warmup_steps=70)),
    ("inverse_sqrt timescale=40",
     o.get_inverse_sqrt_schedule, dict(num_warmup_steps=0, timescale=40)),
    ("cosine_restarts warmup=40 cycles=3",
     o.get_cosine_with_hard_restarts_schedule_with_warmup,
     dict(num_warmup_steps=40, num_cycles=3)),
    ("wsd warmup=60 decay=0.2 min_ratio=0.1",
     o.get_wsd_schedule,
     dict(num_warmup_steps=60, num_decay_steps=200, min_lr_ratio=0.1)),
    ("wsd warmup=150 decay=300 warmup_type=cosine decay_type=1-sqrt",
     o.get_wsd_schedule,
     dict(num_warmup_steps=150, num_decay_steps=300, warmup_type="cosine",
          decay_type="1-sqrt")),
    ("wsd warmup=150 decay=300 warmup_type=1-sqrt decay_type=linear",
     o.get_wsd_schedule,
     dict(num_warmup_steps=150, num_decay_steps=300, warmup_type="1-sqrt",
          decay_type="linear")),
]


def factors(schedule, arguments):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    if "num_training_steps" in schedule.__code__.co_varnames:
        arguments = dict(arguments, num_training_steps=STEPS)
    factor = schedule(optimizer, **arguments).lr_lambdas[0]
    return [factor(step) for step in range(STEPS)]


columns = [factors(schedule, arguments) for _, schedule, arguments in CASES]
print(f"# transformers {transformers.__version__}: the first lines name the "
      "columns, then a line a step "
      "(tests/parity/schedules.py)")
for name, _, _ in CASES:
    print("#", name)
for row in zip(*columns):
    print(*(f"{x:.9g}" for x in row))
