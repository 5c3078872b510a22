"""Adam's moments in about one byte together: what was tried for bench/results/four_bits.md, by formulas."""

import numpy as np
from moments import ByFormula, by_map, dynamic_map

BLOCK, WIDTH = 64, 64  # elements of a block; of a row, where the moments are a matrix
TINY = np.float32(1e-30)


class ByRoot(ByFormula):
    """Stores the first moment as so many times the root of the second one, as that was stored: in dense gradients all
    elements are then of about the same size, and none is large where the second moment is small."""

    def keep(self, m, v):
        self.v = self._second(v, self._random)
        root = np.maximum(np.sqrt(self.v), TINY)
        self.m = self._first(m / root, self._random) * root


def whole(x, random):
    """Single precision."""
    return x


def dithered(bits):
    """Equal steps up to the largest of a block, a bfloat16. What is added before rounding to the nearest, a random part
    of a step, is subtracted when it is read, which knows the random bits once more: right in the mean, so that nothing
    stays for ever, with no more noise than the nearest has."""
    half = np.float32((2**bits - 1) / 2)

    def store(x, random):
        blocks = x.reshape(-1, BLOCK)
        largest = np.maximum(np.abs(blocks).max(axis=1, keepdims=True), TINY)
        step = ((largest.view(np.uint32) + 0xFFFF) & 0xFFFF0000).astype(np.uint32).view(np.float32) / half
        shift = half + random.random(blocks.shape, np.float32) - np.float32(0.5)
        return ((np.clip(np.rint(blocks / step + shift), 0, 2 * half) - shift) * step).ravel()

    return store


def of_block(x):
    """The largest of each block, in single precision."""
    return np.repeat(x.reshape(-1, BLOCK).max(axis=1), BLOCK)


def of_row_or_column(x):
    """The lesser of the largest of an element's row and of its column, as Li et al. (2023) have it."""
    matrix = x.reshape(-1, WIDTH)
    return np.minimum(matrix.max(axis=1, keepdims=True), matrix.max(axis=0, keepdims=True)).ravel()


def falling(bits, octaves, scale_of=of_block):
    """Zero, and codes that fall from the scale by so many octaves each; rounded stochastically, right in the mean. What
    is positive is never zero."""
    values = (2.0 ** (octaves * np.arange(2 - 2**bits, 1))).astype(np.float32)

    def store(x, random):
        scale = np.maximum(scale_of(x), TINY)
        y = x / scale
        low = np.clip(np.searchsorted(values, y, side="right") - 1, 0, len(values) - 2)
        part = (y - values[low]) / (values[low + 1] - values[low])
        return np.where(y > 0, values[low + (random.random(len(y), np.float32) < part)] * scale, 0)

    return store


def shared(count):
    """One number for so many elements: their mean, as in Adam-mini."""
    return lambda x, random: np.repeat(x.reshape(-1, count).mean(axis=1), count)


def factored(x, random):
    """The means of rows and of columns, as in Adafactor."""
    matrix = x.reshape(-1, WIDTH)
    rows, columns = matrix.mean(axis=1, keepdims=True), matrix.mean(axis=0, keepdims=True)
    return (rows * columns / np.maximum(rows.mean(), TINY)).ravel()


def all_of_them():
    """In the order in which they are told of. Bytes of rows and columns are those of a matrix of 1024 rows."""
    first = {bits: bits / 8 + 2 / BLOCK for bits in (3, 4, 5, 6)}
    second = {bits: bits / 8 + 4 / BLOCK for bits in (3, 4, 5, 6)}
    eight_bits, lines = by_map(dynamic_map(True, 7), 256), 4 / WIDTH + 4 / 1024
    return [
        ByRoot("4 bits, f32", first[4] + 4, dithered(4), whole),
        ByRoot("f32, 4 bits", 4 + second[4], whole, falling(4, 0.4)),
        ByFormula("4 and 4 bits, not by root", first[4] + second[4], dithered(4), falling(4, 0.4)),
        ByRoot("4 and 4 bits", first[4] + second[4], dithered(4), falling(4, 0.4)),
        ByRoot("5 and 3 bits", first[5] + second[3], dithered(5), falling(3, 0.8)),
        ByRoot("3 and 5 bits", first[3] + second[5], dithered(3), falling(5, 0.22)),
        ByRoot("4 and 4 bits, rank 1", first[4] + 0.5 + lines, dithered(4), falling(4, 0.4, of_row_or_column)),
        ByRoot("8 bits, one for 128", 1 + 4 / 256 + 4 / 128, eight_bits, shared(128)),
        ByRoot("8 bits, factored", 1 + 4 / 256 + lines, eight_bits, factored),
        ByRoot("5 and 5 bits", first[5] + second[5], dithered(5), falling(5, 0.22)),
        ByRoot("6 and 6 bits", first[6] + second[6], dithered(6), falling(6, 0.12)),
    ]
