"""Writes the golden trajectories next to this file: what torch.optim does over 60 steps, one file per case.

    python -m venv venv && venv/bin/pip install torch==2.13.0
    venv/bin/python tests/golden/generate.py

Running it again with the versions named in the files must reproduce them byte for byte. It takes the single-tensor
CPU path of each optimizer, with PyTorch's plain kernels, since the others may round differently on other machines.

A file, after `#` comments, has these lines, in this order:

    rule NAME                           one of sgd rmsprop adam adamw
    flags [NAME...]                     amsgrad centered maximize nesterov
    beta1 X ... alpha X                 one line for each of HYPERPARAMETERS, zero if the rule does not use it
    elements N
    steps N
    start WORDS                         the initial parameters, f32
    step T                              from 1
    lr X
    weight_decay X
    grad WORDS                          f32
    f32 WORDS                           the parameters after a recorded step, of the float32 run
    f64 WORDS                           and of the float64 run, from the same start and gradients
    state NAME f32 WORDS                after the last step, for each state array of the optimizer
    state NAME f64 WORDS
    end

X is a hexadecimal double. WORDS are N IEEE bit patterns in hexadecimal, 8 digits for f32 and 16 for f64.
"""

import os

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # before torch is imported: it chooses its kernels then

import pathlib
import platform
import random
import struct

import torch

STEPS = 60
HYPERPARAMETERS = ("beta1", "beta2", "eps", "momentum", "dampening", "alpha")
FLAGS = ("amsgrad", "centered", "maximize", "nesterov")
OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
STATES = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "grad_avg", "momentum_buffer")

# name: (rule, learning rate, weight decay, options of the optimizer)
CASES = {
    "sgd_plain": ("sgd", 0.1, 0, {}),
    "sgd_momentum": ("sgd", 0.03, 0, {"momentum": 0.9}),
    "sgd_nesterov": ("sgd", 0.03, 0, {"momentum": 0.9, "nesterov": True}),
    "sgd_dampening": ("sgd", 0.1, 0, {"momentum": 0.8, "dampening": 0.3}),
    "sgd_decay": ("sgd", 0.1, 0.05, {}),
    "sgd_maximize": ("sgd", 0.1, 0, {"maximize": True}),
    "sgd_all": ("sgd", 0.02, 0.1, {"momentum": 0.95, "nesterov": True, "maximize": True}),
    "rmsprop_plain": ("rmsprop", 0.01, 0, {"alpha": 0.99}),
    "rmsprop_centered": ("rmsprop", 0.01, 0, {"alpha": 0.9, "centered": True}),
    "rmsprop_momentum": ("rmsprop", 0.01, 0, {"alpha": 0.99, "momentum": 0.9}),
    "rmsprop_centered_momentum": ("rmsprop", 0.003, 0, {"alpha": 0.95, "centered": True, "momentum": 0.5}),
    "rmsprop_decay": ("rmsprop", 0.01, 0.05, {"alpha": 0.99}),
    "rmsprop_maximize": ("rmsprop", 0.01, 0, {"alpha": 0.9, "maximize": True}),
    "rmsprop_eps": ("rmsprop", 0.01, 0, {"alpha": 0.5, "eps": 1e-3}),
    "adam_plain": ("adam", 0.001, 0, {}),
    "adam_amsgrad": ("adam", 0.001, 0, {"amsgrad": True}),
    "adam_decay": ("adam", 0.01, 0.05, {}),
    "adam_maximize": ("adam", 0.01, 0, {"maximize": True}),
    "adam_betas": ("adam", 0.01, 0, {"betas": (0.5, 0.75), "eps": 1e-4}),
    "adam_all": ("adam", 0.01, 0.1, {"betas": (0.8, 0.9), "eps": 1e-6, "amsgrad": True, "maximize": True}),
    "adamw_plain": ("adamw", 0.001, 0, {}),
    "adamw_amsgrad": ("adamw", 0.001, 0, {"amsgrad": True}),
    "adamw_decay": ("adamw", 0.01, 0.1, {}),
    "adamw_maximize": ("adamw", 0.01, 0, {"maximize": True}),
    "adamw_betas": ("adamw", 0.01, 0, {"betas": (0.0, 0.99), "eps": 1e-5}),
    "adamw_all": ("adamw", 0.01, 0.1, {"betas": (0.8, 0.9), "eps": 1e-6, "amsgrad": True, "maximize": True}),
}


def float32(x):
    """x rounded to float32, as a Python float."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def start(rng):
    """Parameters of several magnitudes, one for each element of gradients()."""
    scales = (1, 1, 0.1, 1e-3, 100, 0, 1, 10, 1, 1e-4, 1)
    return [float32(rng.uniform(0.5, 2) * rng.choice((-1, 1)) * scale) for scale in scales]


def gradients(rng, step):
    """One gradient for each habit that a rule might handle wrongly."""
    noise = lambda: rng.uniform(-1, 1)
    return [
        float32(gradient)
        for gradient in (
            noise(),
            1 + 0.1 * noise(),  # nearly constant
            1e-3 * noise(),
            1e-6 * noise(),  # comparable with the epsilons
            1e3 * noise(),
            1e-8 * noise(),
            noise() if step % 3 == 0 else 0,  # mostly exactly zero
            (-1) ** step * (1 + 0.5 * noise()),  # changes its sign at each step
            100 * noise() if step in (5, 6, 30) else 0.1 * noise(),  # bursts, which AMSGrad remembers
            10 ** rng.uniform(-6, 3) * rng.choice((-1, 1)),  # any magnitude
            0,
        )
    ]


def schedule(step):
    """Factors of the learning rate and of the weight decay: a warm-up and a linear decline, and a saw."""
    return min(step / 10, 1) * (1 - 0.9 * step / STEPS), 1 + (step % 7) / 8


def words(values, code):
    integer, digits = {"f": ("I", 8), "d": ("Q", 16)}[code]
    return " ".join(f"{struct.unpack('<' + integer, struct.pack('<' + code, x))[0]:0{digits}x}" for x in values)


class Run:
    """One optimizer over one parameter tensor of a given type."""

    def __init__(self, rule, dtype, initial, options):
        self.param = torch.nn.Parameter(torch.tensor(initial, dtype=dtype))
        self.code = "f" if dtype == torch.float32 else "d"
        extra = {} if rule in ("sgd", "rmsprop") else {"fused": False}
        self.optimizer = OPTIMIZERS[rule]([self.param], lr=0.0, foreach=False, **extra, **options)

    def step(self, lr, weight_decay, gradient):
        self.optimizer.param_groups[0].update(lr=lr, weight_decay=weight_decay)
        self.param.grad = torch.tensor(gradient, dtype=self.param.dtype)
        self.optimizer.step()

    def param_words(self):
        return words(self.param.tolist(), self.code)

    def state_words(self, name):
        state = self.optimizer.state[self.param].get(name)
        return None if state is None else words(state.tolist(), self.code)


def trajectory(name):
    rule, lr, weight_decay, options = CASES[name]
    rng = random.Random(name)
    initial = start(rng)
    runs = {
        "f32": Run(rule, torch.float32, initial, options),
        "f64": Run(rule, torch.float64, initial, options),
    }
    group = dict(runs["f64"].optimizer.param_groups[0])
    group["beta1"], group["beta2"] = group.get("betas", (0, 0))

    yield f"# A trajectory of torch.optim.{OPTIMIZERS[rule].__name__}; generate.py describes the format."
    yield f"# Made with torch {torch.__version__} and Python {platform.python_version()} by this command:"
    yield "#     python tests/golden/generate.py"
    yield f"rule {rule}"
    yield " ".join(["flags"] + [flag for flag in FLAGS if group.get(flag)])
    for key in HYPERPARAMETERS:
        yield f"{key} {float(group.get(key, 0)).hex()}"
    yield f"elements {len(initial)}"
    yield f"steps {STEPS}"
    yield "start " + words(initial, "f")
    for step in range(1, STEPS + 1):
        lr_factor, decay_factor = schedule(step)
        gradient = gradients(rng, step)
        for run in runs.values():
            run.step(lr * lr_factor, weight_decay * decay_factor, gradient)
        yield f"step {step}"
        yield f"lr {float(lr * lr_factor).hex()}"
        yield f"weight_decay {float(weight_decay * decay_factor).hex()}"
        yield "grad " + words(gradient, "f")
        if step <= 5 or step % 5 == 0:
            for key, run in runs.items():
                yield f"{key} {run.param_words()}"
    for state in STATES:
        for key, run in runs.items():
            if (state_words := run.state_words(state)) is not None:
                yield f"state {state} {key} {state_words}"
    yield "end"


def main():
    torch.set_num_threads(1)
    for name in CASES:
        path = pathlib.Path(__file__).with_name(name + ".txt")
        path.write_text("\n".join(trajectory(name)) + "\n", encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
