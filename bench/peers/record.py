"""Goes through cases, and keeps what was measured in a JSON file that is written whole after each of them."""

import json
import os
import subprocess
import time


def commit():
    """Returns the commit of these sources, as the program's records have it; "unknown" without CMake."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../program/commit.cmake")
    try:
        command = ["cmake", "-D", "GIT=git", "-P", script]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def check(path):
    """Raises an OSError, before the work rather than after, if write() could not write."""
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path) or not os.access(folder, os.W_OK):
        raise PermissionError(f"cannot write {path}")


def write(path, found):
    """Replaces a file whole or not at all, behind symbolic links; what is no regular file is written in place."""
    text = json.dumps(found, indent=2) + "\n"
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "w") as file:
            file.write(text)
        return
    path = os.path.realpath(path)
    new = f"{path}.{os.getpid()}.tmp"
    try:
        with open(new, "x") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        if os.path.exists(new):
            os.unlink(new)
        raise


def describe(case):
    rule, form, state_format, shapes, counts = case
    return {"rule": rule, "param_dtype": form, "state_format": state_format, "shape_set": shapes, "params": sum(counts)}


def go_through(cases, measure, found, path, seconds, may_end):
    """For each case measure(case, its seconds) -> (rows, roof), which are added to `found`. A case that fails costs the
    next ones nothing. `may_end`: no case begins after so many seconds; else each is measured, the last ones briefly.
    `path` may be None."""
    found.update(roofs=[], rows=[], failed=[], left_out=[])
    end = time.perf_counter() + seconds
    cases = list(cases)
    for number, case in enumerate(cases):
        left = end - time.perf_counter()
        if may_end and left <= 0:
            found["left_out"] = [describe(late) for late in cases[number:]]
            print(f"out of time: {len(cases) - number} cases are left out", flush=True)
        else:
            try:
                rows, roof = measure(case, left / (len(cases) - number))
                found["rows"] += rows
                found["roofs"].append(roof)
            except Exception as error:
                text = f"{type(error).__name__}: {str(error)[:300]}"
                found["failed"].append({**describe(case), "error": text})
                print("failed:", *describe(case).values(), text, flush=True)
        if path:
            write(path, found)
        if found["left_out"]:
            break
