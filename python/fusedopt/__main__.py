"""python -m fusedopt: the version, the library, and the devices that it can use."""

from __future__ import annotations

import ctypes

from .library import Device, DeviceInfo, Error, call, find_library, library, version


def _query(kind: int, index: int) -> DeviceInfo:
    info = DeviceInfo()
    call("fopt_device_query", Device(kind, index), ctypes.byref(info))
    return info


def _count(kind: int) -> int:
    count = ctypes.c_int()
    call("fopt_device_count", kind, ctypes.byref(count))
    return count.value


def main() -> None:
    print(f"fusedopt {version()}\n  library           {find_library()}")
    cpu = _query(0, 0)
    isas = [isa for isa in range(1, 32) if cpu.isas >> isa & 1]
    names = [library().fopt_isa_name(isa).decode() + " (chosen)" * (isa == cpu.isa) for isa in isas]
    print(f"cpu: {cpu.name.decode()}\n  threads           {cpu.threads}\n  instruction sets  {' '.join(names)}")
    for index in range(_count(1)):
        gpu = _query(1, index)
        print(f"cuda {index}: {gpu.name.decode()}, compute capability {gpu.compute_major}.{gpu.compute_minor}, "
              f"{gpu.multiprocessors} multiprocessors, {gpu.memory_bytes / 2**30:.1f} GiB")
    if _count(1) == 0:
        try:
            _query(1, 0)
        except Error as error:  # which says why
            print(f"cuda: none: {error}")


if __name__ == "__main__":
    main()
