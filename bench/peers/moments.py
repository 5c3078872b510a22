"""Adam with its moments as others store them, and as the library does. Each makes step t by step(gradients, t), which
returns what is subtracted from the parameters at a learning rate of 1, and tells by second() its second moments."""

import fusedopt
import numpy as np

try:
    import torch
    from engines import bitsandbytes, why_no_bitsandbytes
except ImportError as error:
    bitsandbytes, why_no_bitsandbytes = None, str(error)

EPS = 1e-8


# ---- formats by their formulas -----------------------------------------------------------------------------------


def dynamic_map(signed, runs):
    """Dettmers' dynamic map: in run i the middles of 2^i (without sign 2^(i+1)) equal parts of [0.1, 1], times
    10^(i + 1 - runs); zero, and one."""
    values = [0.0, 1.0]
    for run in range(runs):
        edges = np.linspace(0.1, 1, (1 if signed else 2) * 2**run + 1)
        middles = (edges[1:] + edges[:-1]) / 2 * 10.0 ** (run + 1 - runs)
        values += [*middles, *(-middles if signed else ())]
    return np.array(sorted(values), np.float32)


def nearest(values, y):
    """The nearest of some values in order, of two that are as near the larger one."""
    return values[np.searchsorted((values[1:] + values[:-1]) / 2, y, side="right")]


def by_map(values, block):
    """Stores a block as its largest magnitude, and for each element the nearest of some values."""

    def store(x, random):
        blocks = x.reshape(-1, block)
        scale = np.maximum(np.abs(blocks).max(axis=1, keepdims=True), np.float32(1e-12))
        return (nearest(values, blocks / scale) * scale).ravel()

    return store


def bf16(x, random):
    """The upper half of a float, rounded to the nearest even one."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def softsign(x, random):
    """FlashOptim's first moment: of each 32 the largest magnitude, in half precision; y = 2x / (1 + |x|) in 8 bits."""
    blocks = x.reshape(-1, 32)
    most = np.maximum(np.abs(blocks).max(axis=1, keepdims=True), np.float32(1e-12))
    part = blocks / most
    y = np.floor(2 * part / (1 + np.abs(part)) * np.float32(127) + np.float32(0.5)) / np.float32(127)
    return (y / (2 - np.abs(y)) * most.astype(np.float16).astype(np.float32)).ravel()


def root(x, random):
    """FlashOptim's second moment: its root, as so many 255th of the largest of each 32, which is in half precision."""
    blocks = np.sqrt(x).reshape(-1, 32)
    most = np.maximum(blocks.max(axis=1, keepdims=True), np.float32(1e-12))
    y = np.floor(blocks / most * np.float32(255) + np.float32(0.5)) / np.float32(255)
    return np.square(y * most.astype(np.float16).astype(np.float32)).ravel()


def powers(x, random):
    """SOLO's second moment in 2 bits: of each 128 the largest, times a power 0 to 3 of a base, whose third is the part
    of the largest below which a tenth of them are. The power is rounded stochastically."""
    blocks = x.reshape(-1, 128)
    scale = np.maximum(blocks.max(axis=1, keepdims=True), np.float32(1e-12))
    tenth = np.quantile(blocks, 0.1, axis=1, keepdims=True).astype(np.float32) / scale
    base = np.cbrt(tenth)
    exponent = np.log2(blocks / scale) / np.log2(base) + random.random(blocks.shape, np.float32) - np.float32(0.5)
    code = np.clip(np.nan_to_num(np.rint(exponent)), 0, 3)  # a base of 0 or 1 leaves no number: code 0
    return (base**code * scale).ravel()


class ByFormula:
    """Single precision throughout, but for what a step leaves to the next one."""

    def __init__(self, name, size, first, second):
        self.engine, self.bytes, self._first, self._second = name, size, first, second

    def begin(self, elements, betas, seed):
        self.m, self.v = np.zeros(elements, np.float32), np.zeros(elements, np.float32)
        self.betas, self._random = betas, np.random.default_rng(seed)

    def step(self, gradients, t):
        beta1, beta2 = self.betas
        m = self.m + np.float32(1 - beta1) * (gradients - self.m)
        v = self.v + np.float32(1 - beta2) * (gradients * gradients - self.v)
        root_of_correction = np.float32((1 - beta2**t) ** 0.5)
        update = m / np.float32(1 - beta1**t) / (np.sqrt(v) / root_of_correction + np.float32(EPS))
        self.keep(m, v)
        return update

    def keep(self, m, v):
        self.m, self.v = self._first(m, self._random), self._second(v, self._random)

    def second(self):
        return self.v


# ---- what really runs --------------------------------------------------------------------------------------------


class Ours:
    def __init__(self, state_format, size):
        self.engine, self.bytes, self._format = f"fusedopt {state_format}", size, state_format

    def begin(self, elements, betas, seed):
        self._param, self._gradients = np.zeros(elements, np.float32), np.zeros(elements, np.float32)
        self._optimizer = fusedopt.Optimizer([self._param], [self._gradients], rule="adam", lr=1, betas=betas, eps=EPS,
                                             seed=seed, threads=1, state_format=self._format)

    def step(self, gradients, t):
        self._param[:] = 0
        self._gradients[:] = gradients
        self._optimizer.step()
        return -self._param

    def second(self):
        views = {name: np.asarray(view) for name, view in self._optimizer.state(0).items()}
        codes = views["exp_avg_sq"]
        if self._format == "bf16":
            return (codes.astype(np.uint32) << 16).view(np.float32)
        if self._format == "f32":
            return codes
        absmax = views["exp_avg_sq_absmax"]
        return dynamic_map(False, 7)[codes] * np.repeat(absmax, len(codes) // len(absmax))


class BitsAndBytes:
    engine, bytes = "bitsandbytes 8-bit", 2 + 2 * 4 / 256

    def begin(self, elements, betas, seed):
        self._param = torch.nn.Parameter(torch.zeros(elements))
        self._param.grad = torch.zeros(elements)
        self._optimizer = bitsandbytes.optim.Adam8bit([self._param], lr=1, betas=betas, eps=EPS, min_8bit_size=1)

    def step(self, gradients, t):
        self._param.data.zero_()
        self._param.grad.copy_(torch.from_numpy(gradients))
        self._optimizer.step()
        return -self._param.data.numpy()

    def second(self):
        state = self._optimizer.state[self._param]
        blocks = state["qmap2"][state["state2"].long()].view(len(state["absmax2"]), -1)
        return (blocks * state["absmax2"][:, None]).view(-1).numpy()


def all_of_them():
    """In the order in which they are told of."""
    four_bits = by_map(dynamic_map(True, 3), 128)
    sixteenths = by_map((np.arange(1, 17) / 16).astype(np.float32), 128)
    return [
        Ours("f32", 8),
        Ours("bf16", 4),
        Ours("q8", 2 + 2 * 4 / 256),
        ByFormula("bf16, to nearest", 4, bf16, bf16),
        *([BitsAndBytes()] if bitsandbytes else []),
        ByFormula("FlashOptim", 2 + 2 * 2 / 32, softsign, root),
        ByFormula("torchao 4-bit", 1 + 2 * 4 / 128, four_bits, sixteenths),
        ByFormula("SOLO 4 and 2 bits", 0.5 + 4 / 128 + 0.25 + 2 * 4 / 128, four_bits, powers),
    ]
