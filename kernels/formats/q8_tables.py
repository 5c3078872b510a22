#!/usr/bin/env python3
"""Writes q8_tables.h, the tables of FOPT_Q8, in exact arithmetic: q8_tables.py > q8_tables.h

A map's magnitudes are numbered from 0, the zero, upwards. The place of a number among them is the number of the magnitude
below it, and how far it is to the next one: a function of 14 straight pieces, one in each run of equally spaced
magnitudes, one between any two runs, and one at the end, where it stays. It is concave, so that it is the least of the
pieces' lines.
"""
import math
import struct
from fractions import Fraction

RUNS = 7
MULTIPLIER = 150  # keeps the pieces' ends apart in eight cells
SHIFT = Fraction(1, 2**24)  # is added to all that places are looked up for: none is below


def bits(x):
    return struct.unpack("I", struct.pack("f", x))[0]


def from_bits(word):
    return struct.unpack("f", struct.pack("I", word))[0]


def rounded(x):
    """Returns the float nearest to a fraction."""
    if x == 0:
        return 0.0
    exponent = math.frexp(float(abs(x)))[1]  # right, or one too large where float() rounds up to a power of two
    unit = Fraction(2) ** (max(exponent, -125) - 24)
    return float(round(x / unit) * unit)


def literal(x):
    if x == 0:
        return "0"
    mantissa, exponent = float(x).hex().split("p")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}p{int(exponent)}F"


class Map:
    """One of the two maps. What is encoded has been multiplied so that the largest of a block is `largest`."""

    def __init__(self, has_sign, largest, mantissa_bits, multiplier):
        self.has_sign, self.mantissa_bits, self.multiplier = has_sign, mantissa_bits, multiplier
        self.values = [Fraction(0)]  # by number; 1, the last of all, is no magnitude that is encoded
        starts = []  # numbers where a piece begins
        for run in range(RUNS):
            count = 2**run if has_sign else 2 ** (run + 1)
            starts.append(len(self.values))
            self.values += [Fraction(rounded(Fraction(2 * count + 18 * k + 9, 2 * count * 10 ** (7 - run))))
                            for k in range(count)]
            if count > 1:
                starts.append(len(self.values) - 1)
        self.top = len(self.values) - 1
        self.largest = Fraction(rounded(largest))
        self.factor = self.largest / self.values[-1]
        self.zero = 127 if has_sign else 0
        self.lines = self.make_lines(([0] if has_sign else []) + starts)

    def at(self, number):
        """Returns where a magnitude is looked up."""
        return self.values[number] * self.factor + SHIFT

    def make_lines(self, starts):
        """Returns (slope, offset, beginning, end) of each piece. Offsets without sign have 256 added."""
        lines = []
        base = 0 if self.has_sign else 256
        for a, b in zip(starts, starts[1:]):
            slope = rounded((b - a) / (self.at(b) - self.at(a)))
            offset = rounded(base + a - Fraction(slope) * self.at(a))
            lines.append((slope, offset, self.at(a), self.at(b)))
        lines.append((0.0, float(base + self.top), self.at(self.top), Fraction(2)))
        return lines

    def needed(self, low, high):
        """Returns the lines of the pieces that floats from `low` to `high` can be in."""
        reach = self.largest * (1 + Fraction(1, 2**21)) + SHIFT  # no product is larger
        high = min(high, reach)
        if low > reach:
            return self.lines[-1:]
        if self.has_sign and high < self.at(1):
            return self.lines[:1]
        if not self.has_sign and high < self.at(1):
            return [(0.0, 257.0, None, None)]
        used = [line for line in self.lines[:-1] if line[2] <= high and line[3] > low]
        if high > self.at(self.top) * (1 - Fraction(1, 2**21)):  # the top is met from below by a rounding
            used.append(self.lines[-1])
        return used

    def exactly(self, count, low, high):
        lines = self.needed(low, high)
        assert 1 <= len(lines) <= count, (self.has_sign, count, float(low), float(high), len(lines))
        return lines + lines[-1:] * (count - len(lines))

    def bins(self):
        """Returns the two lines for each value of five exponent bits and some of the mantissa, from 2^-31 on."""
        shift = 23 - self.mantissa_bits
        rows = []
        for i in range(32 << self.mantissa_bits):
            low = ((96 << self.mantissa_bits) + i) << shift
            rows.append(self.exactly(2, Fraction(from_bits(low)), Fraction(from_bits(low + (1 << shift) - 1))))
        if not self.has_sign:  # the least is at the beginning of a bin
            assert any(from_bits(((96 << self.mantissa_bits) + i) << shift) == self.least() for i in range(len(rows)))
        return rows

    def least(self):
        """Returns, without sign, where the first value is looked up, or the float above."""
        x = rounded(self.at(1))
        return x if Fraction(x) >= self.at(1) else from_bits(bits(x) + 1)

    def cells(self):
        """Returns the three lines for each of eight values of the upper half of a float times the multiplier."""
        first = self.least() if not self.has_sign else float(SHIFT)
        last = from_bits(bits(float(self.largest + SHIFT)) + 8)
        halves = {}
        for half in range(bits(first) >> 16, (bits(last) >> 16) + 1):
            halves.setdefault(half * self.multiplier >> 16, []).append(half)
        assert len(halves) <= 8, (self.has_sign, len(halves))
        rows = [None] * 8
        for cell, those in halves.items():
            low, high = those[0] << 16, those[-1] << 16 | 0xFFFF
            rows[cell % 8] = self.exactly(3, Fraction(max(from_bits(low), first)), Fraction(from_bits(high)))
        return [row or self.lines[-1:] * 3 for row in rows]

    def by_code(self):
        up = [rounded(v) for v in self.values] + [1.0]
        return [-x for x in up[-2:0:-1]] + up if self.has_sign else up

    def units(self):
        """Returns, for each run, what its multiples are, as the sum of two floats: first the zero, whose unit is 0."""
        rows = [(0.0, 0.0)] * 8
        for run in range(RUNS):
            power = 2 ** (run + 1)  # the count of this run's magnitudes, doubled where they have a sign
            unit = Fraction(1, 10 ** (7 - run) * power * (1 if self.has_sign else 2))
            high = rounded(unit)
            rows[run] = (high, rounded(unit - Fraction(high)))
        return rows


def wrapped(items, indent=8, width=120):
    """Returns lines of items with commas between them."""
    lines, line = [], " " * indent
    for i, item in enumerate(items):
        piece = item + ("," if i + 1 < len(items) else "")
        if line.strip() and len(line) + len(piece) + 1 > width:
            lines.append(line)
            line = " " * indent
        line += (" " if line.strip() else "") + piece
    return "\n".join(lines + [line])


def literals(numbers):
    return [literal(x) for x in numbers]


def print_member(name, text):
    print(f"    .{name} = {{\n{text}}},")


def main():
    # The largest magnitudes keep the pieces' ends apart: no bin and no cell has more than two or three lines. Without
    # sign, one also puts the first value at the beginning of a bin, so that below it lies the line of constant 1.
    first = Fraction(rounded(Fraction(13, 4 * 10**7)))
    last = Fraction(rounded(1 - Fraction(9, 2560)))
    signed = Map(True, Fraction(11783, 10000), 1, MULTIPLIER)
    unsigned = Map(False, (Fraction(7, 2**24) - SHIFT) * last / first, 2, MULTIPLIER)
    print('''/*
 * The tables of FOPT_Q8, written by q8_tables.py.
 *
 * The two maps are the dynamic data type of Dettmers, "8-Bit Approximations for Parallelism in Deep Learning" (2016), as
 * Dettmers, Lewis, Shleifer and Zettlemoyer use it in "8-bit Optimizers via Block-wise Quantization" (2022). For i = 0..6
 * each holds n = 2^i (signed) or 2^(i+1) (unsigned) values, the middles of n equal parts of [0.1, 1] times 10^(i-6); with
 * a sign, their negatives too; and 0 and 1. Each is the float nearest to the exact value.
 */
#ifndef FOPT_I_Q8_TABLES_H
#define FOPT_I_Q8_TABLES_H

#include "../arithmetic.h"
#include <stdalign.h>

/* The last value below 1 of each map, inverted: what the largest magnitude of a block is multiplied by to be its scale. */''')
    for name, m in ("SIGNED", signed), ("UNSIGNED", unsigned):
        print(f"#define {f'FOPT_I_Q8_{name}_INVERSE':26} {literal(rounded(1 / m.values[-1]))}")
    print("\n/* Where the largest magnitude of a block is looked up. */")
    for name, m in ("SIGNED", signed), ("UNSIGNED", unsigned):
        print(f"#define {f'FOPT_I_Q8_{name}_LARGEST':26} {literal(m.largest)}")
    print(f'''
/* What is added to all that is looked up, so that nothing is subnormal or below the first bin. */
#define FOPT_I_Q8_SHIFT {literal(SHIFT)}

/* Where the first value of the map without sign is looked up. */
#define FOPT_I_Q8_UNSIGNED_FIRST {literal(unsigned.least())}

/* Mantissa bits by which bins are chosen, besides five of the exponent. */
#define FOPT_I_Q8_SIGNED_BITS   {signed.mantissa_bits}
#define FOPT_I_Q8_UNSIGNED_BITS {unsigned.mantissa_bits}

/* The upper half of a float times this, over 2^16, modulo 8 chooses a cell. */
#define FOPT_I_Q8_MULTIPLIER {signed.multiplier}

/* The two lines that can be the least in a bin. */
typedef struct fopt_i_q8_bin {{
    alignas(16) float slope;
    float offset, other_slope, other_offset;
}} fopt_i_q8_bin;

typedef struct fopt_i_q8_maps {{
    fopt_i_q8_bin signed_bins[32 << FOPT_I_Q8_SIGNED_BITS], unsigned_bins[32 << FOPT_I_Q8_UNSIGNED_BITS];
    float signed_value[256], unsigned_value[256]; /* by code */
}} fopt_i_q8_maps;

/* clang-format off */
FOPT_I_LITERALS fopt_i_q8_maps fopt_i_q8_literals = {{''')
    for name, m in ("signed", signed), ("unsigned", unsigned):
        rows = ["{" + ", ".join(literals([a[0], a[1], b[0], b[1]])) + "}" for a, b in m.bins()]
        print_member(f"{name}_bins", wrapped(rows))
    for name, m in ("signed", signed), ("unsigned", unsigned):
        print_member(f"{name}_value", wrapped(literals(m.by_code())))
    print('''};

#ifndef __CUDACC__
/* The same for vector registers of a CPU, which permute eight floats. */
typedef struct fopt_i_q8_lanes {
    float slope[3][8], offset[3][8]; /* by cell: the three lines that can be the least there */
    float unit[8], unit_rest[8];     /* by exponent: what the values of a run are multiples of, as a sum */
} fopt_i_q8_lanes;
''')
    for name, m in ("signed", signed), ("unsigned", unsigned):
        cells, units = m.cells(), m.units()
        print(f"FOPT_I_LITERALS fopt_i_q8_lanes fopt_i_q8_{name}_lanes = {{")
        for field, part in ("slope", 0), ("offset", 1):
            rows = [wrapped(literals([row[line][part] for row in cells]), 12) for line in range(3)]
            print_member(field, ",\n".join("        {\n" + row + "}" for row in rows))
        for field, part in ("unit", 0), ("unit_rest", 1):
            print_member(field, wrapped(literals([row[part] for row in units])))
        print("};")
    print('''#endif
/* clang-format on */

#endif''')


if __name__ == "__main__":
    main()
