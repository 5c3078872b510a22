#!/usr/bin/env python3
"""Reads what bench/gpu/run left in a folder. All that knows the shapes of log.txt and counters.csv is here."""

import csv
import json
import pathlib
import re
import sys

BENCH = ("formats", "shapes", "rules")


class Step:
    """A part of a step: its command, lines of output, exit status (None: it did not end), seconds and clocks."""

    def __init__(self, name, command):
        self.name, self.command, self.lines = name, command, []
        self.status, self.seconds, self.clocks = None, 0, ""

    def last(self):
        """Returns the last line that is not empty, without the folders of this machine."""
        line = next((line.strip() for line in reversed(self.lines) if line.strip()), "")
        return re.sub(r"(?<![\w.])/\S*/", "", line)


def read_steps(folder):
    """Returns the parts of all steps by name, in their order."""
    steps, step = {}, None
    for line in pathlib.Path(folder, "log.txt").read_text(errors="replace").splitlines():
        begin = re.fullmatch(r"== step (\S+) at \d+ s: (.*)", line)
        end = re.fullmatch(r"== end (\S+): status (\d+), (\d+) s(?:, (.*))?", line)
        if begin:
            step = steps[begin[1]] = Step(begin[1], begin[2])
        elif end and step and end[1] == step.name:
            step.status, step.seconds, step.clocks = int(end[2]), int(end[3]), end[4] or ""
            step = None
        elif step:
            step.lines.append(line)
    return steps


def read_json(folder, name):
    """Returns None if it is not there, or was not written to its end."""
    try:
        return json.loads(pathlib.Path(folder, name).read_text())
    except (OSError, ValueError):
        return None


def read_bench(folder):
    """Joins the files of `fusedopt bench`, as if they were one."""
    parts = [part for part in (read_json(folder, f"{name}.json") for name in BENCH) if part]
    if not parts:
        return None
    return {**parts[0], **{key: [item for part in parts for item in part[key]] for key in ("roofs", "rows")}}


# ---- the log ----------------------------------------------------------------------------------------------------


def text(steps, name):
    return steps[name].last() if name in steps and steps[name].status == 0 else ""


def describe_card(steps):
    names = ("name", "driver", "memory", "sm_clock", "memory_clock", "most_sm_clock", "most_memory_clock",
             "power_limit", "ecc")
    return dict(zip(names, re.split(", *", text(steps, "card"))))


def kernel_hashes(steps, name):
    lines = steps[name].lines if name in steps and steps[name].status == 0 else []
    return dict(line.split(" ") for line in lines if re.fullmatch(r"\S+ [0-9a-f]{12}", line))


def race(step):
    """Reads what `fusedopt_tournament` printed, by formats."""
    races, failed = [], []
    for line in step.lines:
        head = re.fullmatch(r"(\S+/\S+/\S+) (\d+) elements, (\S+) bytes each, (\d+) rounds: copy (\d+) GB/s", line)
        timed = re.fullmatch(r"  (\S+) +(\S+) ms \(([\d.]+)-([\d.]+)\) +(\d+) GB/s (\S+) of copy +(.*)  (\S.*)", line)
        other = re.fullmatch(r"  (\S+) +(\S.*)", line)
        bad = re.fullmatch(r"(\S+/\S+/\S+): (.+) (hung|failed)", line)
        if head:
            races.append({"formats": head[1], "elements": int(head[2]), "bytes": float(head[3]), "rounds": int(head[4]),
                          "copy_gb_per_s": float(head[5]), "kernels": []})
        elif timed and races:
            races[-1]["kernels"].append(
                {"name": timed[1], "ms": float(timed[2]), "ms_quartiles": [float(timed[3]), float(timed[4])],
                 "gb_per_s": float(timed[5]), "copy_fraction": float(timed[6]), "resources": timed[7].strip(),
                 "bits": timed[8]})
        elif other and races:
            races[-1]["kernels"].append({"name": other[1], "failed": other[2]})
        elif bad:
            failed.append(f"{bad[1]}: {bad[2]} {bad[3]}")
    return races, failed


def count_exact(steps):
    """Sums up the lines of `fusedopt_exact`; None if it did not run to its end."""
    if "exact" not in steps or steps["exact"].status not in (0, 1):
        return None
    lines = [re.fullmatch(r".*: (\d+) wrong of (\d+)", line) for line in steps["exact"].lines]
    lines = [line for line in lines if line]
    return {"wrong": sum(int(line[1]) for line in lines), "results": sum(int(line[2]) for line in lines),
            "lines": [line[0] for line in lines]}


def count_tests(steps):
    """Counts the device tests' lines of TAP, and keeps those that are not ok. A program that died counts as one."""
    counts, bad = {"ok": 0, "not ok": 0, "skipped": 0}, []
    for step in steps.values():
        if not step.name.startswith("test_"):
            continue
        before = counts["not ok"]
        for line in step.lines:
            if re.match(r"(not )?ok\b", line):
                what = "skipped" if "# SKIP" in line else "not ok" if line.startswith("not") else "ok"
                counts[what] += 1
                if what == "not ok":
                    bad.append(f"{step.name}: {line}")
        if step.status != 0 and counts["not ok"] == before:
            counts["not ok"] += 1
            bad.append(f"{step.name}: status {step.status}: {step.last()}")
    return {**counts, "bad": bad}


def count_sanitizers(steps):
    checked = [step for step in steps.values() if re.fullmatch(r"(mem|race|init|sync)check-\d", step.name)]
    bad = [f"{step.name}: status {step.status}: {step.last()}" for step in checked if step.status != 0]
    return {"clean": len(checked) - len(bad), "not clean": len(bad), "bad": bad}


def count_verified(folder):
    rows = (read_json(folder, "verify.json") or {"rows": []})["rows"]
    run = [row for row in rows if "skipped" not in row]
    return {"cases": len(run), "elements": sum(row["elements"] for row in run),
            "differing_bits": sum(row["differing_bits"] for row in run),
            "worst_ulp": max((row["worst_ulp"] for row in run), default=0)}


# ---- ncu's counters -----------------------------------------------------------------------------------------------


def read_counters(folder, steps):
    """Reads each profiled launch: formats and name in the tournament, the kernel, and what ncu counted."""
    try:
        lines = pathlib.Path(folder, "counters.csv").read_text(errors="replace").splitlines()
    except OSError:
        return []
    rows = list(csv.reader(line for line in lines if line.startswith('"')))
    printed = (line for step in steps.values() if re.match("counters-", step.name) and step.status == 0
               for line in step.lines)
    launched = filter(None, (re.match(r"(\S+/\S+/\S+):(\S+) +\d+ regs", line) for line in printed))
    found = []
    for row in (row for row in rows[1:] if row[0].isdigit()):  # not the row of units
        cells, entry = dict(zip(rows[0], row)), next(launched, ("", "", ""))
        counts = {name: number(cell) for name, cell in cells.items() if "__" in name and number(cell) is not None}
        found.append({"formats": entry[1], "name": entry[2], "kernel": cells.get("Kernel Name", ""), "counts": counts})
    return found


def number(cell):
    try:
        return float(cell.replace(",", ""))
    except ValueError:
        return None


# ---- all of it ------------------------------------------------------------------------------------------------------


def read(folder):
    """Returns all but what `fusedopt bench` and bench/peers wrote themselves."""
    steps = read_steps(folder)
    races, failed = [], []
    for name in ("tournament-large", "tournament-small"):
        if name in steps:
            some, bad = race(steps[name])
            races += some
            failed += bad
    return {
        "commit": text(steps, "commit"),
        "date": text(steps, "date"),
        "card": describe_card(steps),
        "nvcc": re.sub(r".*\bV", "", "".join(line for line in steps["nvcc"].lines if "release" in line))
        if "nvcc" in steps else "",
        "kernels": kernel_hashes(steps, "kernels"),
        "tournament_kernels": kernel_hashes(steps, "tournament-kernels"),
        "steps": [{"name": step.name, "status": step.status, "seconds": step.seconds, "clocks": step.clocks,
                   "last": step.last()[:200]} for step in steps.values()],
        "exact": count_exact(steps),
        "verify": count_verified(folder),
        "tests": count_tests(steps),
        "sanitizers": count_sanitizers(steps),
        "tournament": races,
        "tournament_failed": failed,
        "counters": read_counters(folder, steps),
    }


def sanitizer_cases(steps):
    """Yields numbers of cases of Adam that were verified: one with moments in q8, one in bf16, one in f32."""
    lines = steps["verify"].lines if "verify" in steps else []
    for formats in ("bf16/bf16/q8", "bf16/bf16/bf16", "f32/f32/f32"):
        yield from [line.split()[0] for line in lines if re.match(rf" *\d+ adam.* {formats} ", line)][:1]


if __name__ == "__main__":
    if sys.argv[2:] != ["cases"]:
        sys.exit("usage: found.py FOLDER cases")
    print(*sanitizer_cases(read_steps(sys.argv[1])), sep="\n")
