"""The gradients of `fusedopt state` once more, from what bench/state/gradients.h says of them: the same to the bit."""

import math

import numpy as np

KINDS = ("dense", "embed", "spike", "norm", "decay", "stop")
FEW, NEIGHBOURS, ROW = 10, 256, 64  # steps of "stop" that have gradients; the distance of what dominates; a row
POOL, MOST = 1 << 20, 1 << 18


class SplitMix:
    def __init__(self, seed):
        self.state = seed

    def copy(self):
        return SplitMix(self.state)

    def draw(self, count):
        """The next numbers, 64 bits each."""
        step = 0x9E3779B97F4A7C15
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(step) + np.uint64(self.state)
        self.state = (self.state + count * step) % 2**64
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def normals(bits):
    """Normal numbers, of three draws each: the sum of twelve uniform ones."""
    parts = np.ascontiguousarray(bits).view("<u2").reshape(-1, 12)
    return ((parts.sum(axis=1, dtype=np.int64) - 12 * 65535 // 2) * 2.0**-16).astype(np.float32)


def uniforms(bits):
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Pool:
    """Normal numbers, from which the gradients of all kinds are cut."""

    def __init__(self, seed):
        self.random = SplitMix(seed)
        self.normals = normals(self.random.draw(3 * POOL))


class Gradients:
    """One kind's; next(t) gives those of step t, from 1."""

    def __init__(self, pool, kind, elements, steps, spike):
        self.pool, self.kind, self.elements, self.steps, self.spike = pool, kind, elements, steps, spike
        self.random = pool.random.copy()
        sizes, signs = self._draw_sizes()
        self.sizes = np.array(sizes, np.float32)
        factors = np.where(signs >> np.uint64(63), np.float32(-0.1), np.float32(0.1))
        self.means = np.zeros(elements, np.float32) if kind == "stop" else self.sizes * factors
        if kind == "embed":
            rows = (elements + ROW - 1) // ROW
            self.hits = np.array([min(0.9, 2 / math.pow(1 + place, 1.1)) for place in self._shuffled(rows)])

    def _draw_sizes(self):
        """Sizes of the elements, and what decides the signs of their means."""
        if self.kind in ("embed", "stop"):
            places = range(self.elements)
            falling = [math.pow(10, -4.0 * (i % NEIGHBOURS) / NEIGHBOURS) for i in places]
            return falling if self.kind == "stop" else [1e-3] * self.elements, self.random.draw(self.elements)
        sigma = 2 if self.kind == "norm" else 0.5
        bits = self.random.draw(4 * self.elements).reshape(-1, 4)
        return [1e-3 * math.exp(sigma * float(z)) for z in normals(bits[:, :3])], bits[:, 3]

    def _shuffled(self, count):
        items = list(range(count))
        for left in range(count, 1, -1):
            chosen = int(self.random.draw(1)[0]) % left
            items[left - 1], items[chosen] = items[chosen], items[left - 1]
        return items

    def next(self, t):
        begin = int(self.random.draw(1)[0]) % (POOL - MOST)
        if self.kind == "stop" and t > FEW:
            out = np.zeros(self.elements, np.float32)
        else:
            out = self.pool.normals[begin : begin + self.elements] * self.sizes + self.means
        if self.kind == "embed":
            missed = uniforms(self.random.draw(len(self.hits))) >= self.hits
            out[np.repeat(missed, ROW)[: self.elements]] = 0
        if self.kind == "stop" or (self.kind == "spike" and t == self.spike):
            out[::NEIGHBOURS] = 1
        if self.kind == "decay":
            out *= np.float32(math.pow(10, -4.0 * t / self.steps))
        return out
