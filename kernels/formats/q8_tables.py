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

    def __init__(self, has_sign, largest, mantissa_bits):
        self.has_sign, self.mantissa_bits = has_sign, mantissa_bits
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
        reach = self.largest * (1 + Fraction(1, 2**20)) + SHIFT  # no product is larger
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

    def cells(self, count, line_count):
        """Returns the least multiplier that keeps the pieces' ends apart, and the lines for each of `count` values,
        modulo that, of the upper half of a float times the multiplier."""
        first = self.least() if not self.has_sign else float(SHIFT)
        last = from_bits(bits(float(self.largest + SHIFT)) + 8)
        for multiplier in range(1, 512):
            halves = {}
            for half in range(bits(first) >> 16, (bits(last) >> 16) + 1):
                halves.setdefault(half * multiplier >> 16, []).append(half)
            rows = [self.lines[-1:] * line_count] * count
            for cell, those in halves.items():
                low, high = from_bits(those[0] << 16), from_bits(those[-1] << 16 | 0xFFFF)
                rows[cell % count] = self.needed(Fraction(max(low, first)), Fraction(high))
            if len(halves) <= count and max(map(len, rows)) <= line_count:
                return multiplier, [row + row[-1:] * (line_count - len(row)) for row in rows]
        raise AssertionError((self.has_sign, count, line_count))

    def by_code(self):
        up = [rounded(v) for v in self.values] + [1.0]
        return [-x for x in up[-2:0:-1]] + up if self.has_sign else up

    def units(self, count):
        """Returns, for each run, what its values are multiples of, as the sum of two floats; the last is of the zero."""
        rows = [(0.0, 0.0)] * count
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
    signed = Map(True, Fraction(11783, 10000), 1)
    unsigned = Map(False, (Fraction(7, 2**24) - SHIFT) * last / first, 2)
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
    print("\n/* Where the largest magnitude of a block is looked up, and a little more: no rounding takes it below the end. */")
    for name, m in ("SIGNED", signed), ("UNSIGNED", unsigned):
        print(f"#define {f'FOPT_I_Q8_{name}_LARGEST':26} {literal(rounded(m.largest * (1 + Fraction(1, 2**22))))}")
    print(f'''
/* What is added to all that is looked up, so that nothing is subnormal or below the first bin. */
#define FOPT_I_Q8_SHIFT {literal(SHIFT)}

/* Where the first value of the map without sign is looked up. */
#define FOPT_I_Q8_UNSIGNED_FIRST {literal(unsigned.least())}

/* Mantissa bits by which bins are chosen, besides five of the exponent. */
#define FOPT_I_Q8_SIGNED_BITS   {signed.mantissa_bits}
#define FOPT_I_Q8_UNSIGNED_BITS {unsigned.mantissa_bits}

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
/* The same for vector registers of a CPU, which permute eight floats, or sixteen. The upper half of a float times the
 * multiplier, over 2^16, chooses a cell by its last bits; in each cell the least of all lines is one of few. */
#if defined(__AVX512BW__) && defined(__AVX512DQ__)
#define FOPT_I_Q8_CELLS 16
#define FOPT_I_Q8_LINES 2
#else
#define FOPT_I_Q8_CELLS 8
#define FOPT_I_Q8_LINES 3
#endif

typedef struct fopt_i_q8_lanes {
    int multiplier;
    float slope[FOPT_I_Q8_LINES][FOPT_I_Q8_CELLS], offset[FOPT_I_Q8_LINES][FOPT_I_Q8_CELLS]; /* by cell */
    float unit[FOPT_I_Q8_CELLS], unit_rest[FOPT_I_Q8_CELLS]; /* by exponent: what a run's values are multiples of */
} fopt_i_q8_lanes;

#if FOPT_I_Q8_CELLS == 16''')
    for count, line_count in (16, 2), (8, 3):
        for name, m in ("signed", signed), ("unsigned", unsigned):
            (multiplier, cells), units = m.cells(count, line_count), m.units(count)
            print(f"FOPT_I_LITERALS fopt_i_q8_lanes fopt_i_q8_{name}_lanes = {{\n    .multiplier = {multiplier},")
            for field, part in ("slope", 0), ("offset", 1):
                rows = [wrapped(literals([row[line][part] for row in cells]), 12) for line in range(line_count)]
                print_member(field, ",\n".join("        {\n" + row + "}" for row in rows))
            for field, part in ("unit", 0), ("unit_rest", 1):
                print_member(field, wrapped(literals([row[part] for row in units])))
            print("};")
        print("#else" if count == 16 else "#endif")
    print('''
/* The values' bytes, the lowest first, for registers that look bytes up. */''')
    for name, m in ("signed", signed), ("unsigned", unsigned):
        print(f"FOPT_I_LITERALS uint8_t fopt_i_q8_{name}_bytes[4][256] = {{")
        rows = [wrapped([str(bits(x) >> shift & 0xFF) for x in m.by_code()]) for shift in (0, 8, 16, 24)]
        print(",\n".join("    {\n" + row + "}" for row in rows) + "};")
    print('''#endif
/* clang-format on */

#endif''')


if __name__ == "__main__":
    main()
