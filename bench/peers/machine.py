"""What the JSON files tell of the machine."""

import os
import platform

import fusedopt

import record

try:
    import torch
    from engines import bitsandbytes
except ImportError:
    torch = bitsandbytes = None


def describe(device):
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor()
    if device == "cpu" and os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            name = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), name)
    uname = platform.uname()
    return {
        "machine": {"system": uname.system, "release": uname.release, "architecture": uname.machine},
        "device": {"kind": device, "name": name, "threads": torch.get_num_threads() if torch else os.cpu_count()},
        "versions": {
            "fusedopt": fusedopt.version(),
            "python": platform.python_version(),
            "torch": torch.__version__ if torch else "none",
            "bitsandbytes": bitsandbytes.__version__ if bitsandbytes else "none",
            "cuda": torch.version.cuda if device == "cuda" else "none",
        },
        "commit": record.commit(),
    }
