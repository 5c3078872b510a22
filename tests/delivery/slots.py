#!/usr/bin/env python3
"""slots.py CUBIN TABLE: counts the instructions of each kernel of tile_step.cu, compiled for sm_90, and prints where they
differ from TABLE's by more than 3 %; a TABLE named - prints them all. A kernel has no loop, and no branch but to a trap, so that what
it holds is what a warp issues for a tile: 32 lanes of 8 elements. A slot is an instruction for 32 elements, an eighth of
that. The time a multiprocessor takes for 32 elements is at least slots / 4 cycles, and the instructions of `alu` and
`imad`, half of whose lanes there are, / 2."""

import collections
import pathlib
import re
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "bench" / "gpu"))
import kernels  # noqa: E402  finds sections and makes names readable

FORMATS = ["f32", "bf16", "f16", "q8", "q8_64"]
TOLERANCE = 0.03

# The pipe of each instruction, by the nine bits that say which it is: those that were seen.
PIPES = {
    "fp32": [0x20, 0x21, 0x23],  # FMUL FADD FFMA
    "alu": [0x02, 0x05, 0x07, 0x08, 0x09, 0x0B, 0x0C, 0x0F, 0x10, 0x11, 0x12, 0x16, 0x19, 0x1C, 0x36, 0x3E, 0x45, 0x46]
    + [0x48],  # MOV CS2R SEL FSEL FMNMX FSETP ISETP VIMNMX3 IADD3 LEA LOP3 PRMT SHF PLOP3 VIADD F2FP I2FP VIADDMNMX VIMNMX
    "imad": [0x24, 0x25, 0x27, 0x35],  # IMAD HFMA2
    "mufu": [0x108],
    "memory": [0x181, 0x184, 0x186, 0x188, 0x189, 0x1C4],  # LDG LDS STG STS SHFL REDUX
    "other": [0x06, 0x119, 0x147, 0x148, 0x14D, 0x182, 0x1C3, *range(0x80, 0xD0)],
    # VOTE S2R BRA WARPSYNC EXIT LDC S2UR, and what a warp does once for all lanes (UIADD3 and the like)
    None: [0x118, 0x15C],  # NOP BPT
}
PIPE_OF = {code: pipe for pipe, codes in PIPES.items() for code in codes}


def counts(code):
    """Returns how many instructions each pipe has of a kernel, whose last one is followed by a branch to itself."""
    words = [low & 0x1FF for (low,) in struct.iter_unpack("<Q8x", code)]
    end = max(i for i, word in enumerate(words) if word == 0x147)
    unknown = {hex(word) for word in words[:end]} - {hex(known) for known in PIPE_OF}
    if unknown:
        sys.exit(f"slots.py: no pipe is known for {', '.join(sorted(unknown))}: see `nvdisasm -hex`")
    return collections.Counter(PIPE_OF[word] for word in words[:end])


def table(path):
    """Yields a line for each kernel: loop, formats, slots, and the slots of each pipe."""
    codes = {name: code for name, code in kernels.sections(pathlib.Path(path).read_bytes()) if name.startswith(".text.")}
    names = kernels.readable([name.removeprefix(".text.") for name in codes])
    for name, code in sorted(zip(names, codes.values())):
        loop, *formats = re.fullmatch(r"tile_step<(\w+),(\d)u,(\d)u,(\d)u>", name).groups()
        found = counts(code)
        slots = [sum(found[pipe] for pipe in PIPES if pipe), *(found[pipe] for pipe in PIPES if pipe)]
        yield " ".join([loop, "/".join(FORMATS[int(f)] for f in formats), *(f"{n / 8:.1f}" for n in slots)])


def main():
    lines = list(table(sys.argv[1]))
    if sys.argv[2] == "-":
        print("# loop, formats of parameters, gradients and moments; slots, of which", *filter(None, PIPES))
        print("\n".join(lines))
        return
    known = {}
    for line in pathlib.Path(sys.argv[2]).read_text().splitlines():
        if not line.startswith("#"):
            loop, formats, slots, *_ = line.split()
            known[loop, formats] = float(slots)
    for line in lines:
        loop, formats, slots, *_ = line.split()
        before = known.pop((loop, formats), 0.0)
        if abs(float(slots) - before) > TOLERANCE * before:
            print(f"{line}, where there were {before}: if that is meant, put the line into {sys.argv[2]}")
    for loop, formats in known:
        print(f"{loop} {formats} was not found")


if __name__ == "__main__":
    main()
