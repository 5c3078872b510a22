"""Writes the golden trajectories next to this file: what bitsandbytes' 8-bit optimizers do on the CPU over 20 steps.

    python -m venv venv && venv/bin/pip install torch==2.13.0 numpy && venv/bin/pip install --no-deps bitsandbytes==0.50.2
    venv/bin/python tests/golden/q8/generate_q8.py

A file, after `#` comments, has these lines, in this order:

    rule NAME                           adamw or sgd
    lr X ... momentum X                 one line for each of HYPERPARAMETERS
    elements N
    steps N
    param WORDS                         at first, f32
    then for each step
    grad WORDS                          f32
    param WORDS                         after it
    codes NAME BYTES                    of each moment, after it: the codes, two digits each
    absmax NAME WORDS                   and one f32 for each 256 of them
    and at the end
    end

X is a hexadecimal double. WORDS are N IEEE bit patterns in hexadecimal, 8 digits for f32.
"""

import pathlib
import platform
import random
import struct

import bitsandbytes
import torch

STEPS = 20
ELEMENTS = 256 + 77
HYPERPARAMETERS = ("lr", "beta1", "beta2", "eps", "weight_decay", "momentum")

# name: (rule, optimizer, names of its moments, options)
CASES = {
    "q8_adamw": (
        "adamw",
        bitsandbytes.optim.AdamW8bit,
        {"state1": "exp_avg", "state2": "exp_avg_sq"},
        {"lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 1e-2, "momentum": 0.0},
    ),
    "q8_momentum": (
        "sgd",
        bitsandbytes.optim.SGD8bit,
        {"state1": "momentum_buffer"},
        {"lr": 1e-2, "beta1": 0.0, "beta2": 0.0, "eps": 0.0, "weight_decay": 0.0, "momentum": 0.9},
    ),
}


def words(values):
    return " ".join(f"{struct.unpack('<I', struct.pack('<f', x))[0]:08x}" for x in values)


def gradients(rng, step):
    """Elements of several sizes, some of which keep their sign."""
    scales = (1, 1, 0.3, 0.1, 0.03, 0.01)
    return [
        scales[i % len(scales)] * (rng.uniform(-1, 1) + (0.5 if i % 3 == 0 else 0) + (2 if i % 100 == step else 0))
        for i in range(ELEMENTS)
    ]


def trajectory(name):
    rule, optimizer, moments, group = CASES[name]
    rng = random.Random(name)
    param = torch.nn.Parameter(torch.tensor([rng.uniform(-2, 2) for _ in range(ELEMENTS)], dtype=torch.float32))
    options = {"lr": group["lr"], "weight_decay": group["weight_decay"], "min_8bit_size": 1}
    if rule == "adamw":
        options.update(betas=(group["beta1"], group["beta2"]), eps=group["eps"])
    else:
        options.update(momentum=group["momentum"])
    stepper = optimizer([param], **options)

    yield f"# A trajectory of bitsandbytes.optim.{optimizer.__name__} on the CPU; generate_q8.py describes the format."
    yield f"# Made with bitsandbytes {bitsandbytes.__version__}, torch {torch.__version__} and Python"
    yield f"# {platform.python_version()} by this command:"
    yield "#     python tests/golden/q8/generate_q8.py"
    yield f"rule {rule}"
    for key in HYPERPARAMETERS:
        yield f"{key} {float(group[key]).hex()}"
    yield f"elements {ELEMENTS}"
    yield f"steps {STEPS}"
    yield "param " + words(param.tolist())
    for step in range(1, STEPS + 1):
        param.grad = torch.tensor(gradients(rng, step), dtype=torch.float32)
        yield "grad " + words(param.grad.tolist())
        stepper.step()
        yield "param " + words(param.tolist())
        for key, moment in moments.items():
            yield f"codes {moment} " + bytes(stepper.state[param][key].tolist()).hex()
            yield f"absmax {moment} " + words(stepper.state[param]["absmax" + key[-1]].tolist())
    yield "end"


def main():
    torch.set_num_threads(1)
    for name in CASES:
        path = pathlib.Path(__file__).with_name(name + ".txt")
        path.write_text("\n".join(trajectory(name)) + "\n", encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
