#!/usr/bin/env python3
"""kernels.py FILE [COLUMNS]: prints the name of each kernel in FILE, what COLUMNS says of it, and a hash of its machine
code for sm_90, a line each. FILE is a cubin, or a program or library that has uncompressed ones in it. COLUMNS has
lines of a kernel's name as the linker knows it and of the words to print.

The hash is of the instructions alone. It depends on no path and no other kernel, but, where a kernel reads tables of
constants, on the order of those in its source file."""

import hashlib
import pathlib
import re
import struct
import subprocess
import sys

ELF, CUDA, SM = b"\x7fELF\x02\x01\x01", 190, 90


def is_cubin(data):
    """Tells whether the data begins with machine code for sm_90. The architecture is in the flags' second byte; before
    CUDA 13 it was in the first."""
    (machine,), flags = struct.unpack_from("<H", data, 18), data[48:50]
    return machine == CUDA and SM in flags


def sections(data):
    """Yields name and content of each section of the 64-bit ELF file with which the data begins."""
    (table,), (size, count, names) = struct.unpack_from("<Q", data, 40), struct.unpack_from("<HHH", data, 58)
    heads = [struct.unpack_from("<I20xQQ", data, table + i * size) for i in range(count)]
    for name, offset, length in heads:
        first = heads[names][1] + name
        yield data[first : data.index(b"\0", first)].decode(), data[offset : offset + length]


def hashes(path):
    data, found = pathlib.Path(path).read_bytes(), {}
    for match in re.finditer(re.escape(ELF), data):
        cubin = data[match.start() :]
        if is_cubin(cubin):
            codes = ((name.removeprefix(".text."), code) for name, code in sections(cubin) if name.startswith(".text."))
            found.update((name, hashlib.sha256(code).hexdigest()[:12]) for name, code in codes)
    return found


def readable(names):
    """Yields the names as C++ writes them, without result, arguments and spaces."""
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    for name in done.stdout.splitlines():
        depth, end = 0, len(name)
        while name.endswith(")"):  # back to the parenthesis that the last one closes
            end -= 1
            depth += (name[end] == ")") - (name[end] == "(")
            if depth == 0:
                break
        yield name[:end].removeprefix("void ").replace("unsigned long", "uint64_t").replace(" ", "")


def main():
    found = hashes(sys.argv[1])
    columns = {}
    if len(sys.argv) > 2:
        lines = pathlib.Path(sys.argv[2]).read_text().splitlines()
        columns = {name: f" {words}" for name, words in (line.split(" ", 1) for line in lines)}
    lines = (f"{name}{columns.get(key, '')} {found[key]}\n" for name, key in zip(readable(found), found))
    print("".join(sorted(lines)), end="")
    return None if found else f"{sys.argv[1]}: no kernels for sm_{SM}, or compressed ones"


if __name__ == "__main__":
    sys.exit(main())
