#!/usr/bin/env python3
"""summary.py FOLDER: prints what bench/gpu/run found, in at most sixty lines."""

import re
import sys

import found

LINES, WIDTH = 60, 150
COUNTERS = (("dram", "dram__throughput.avg.pct_of_peak_sustained_elapsed"),
            ("issue", "smsp__issue_active.avg.pct_of_peak_sustained_active"),
            ("alu", "sm__inst_executed_pipe_alu.avg.pct_of_peak_sustained_active"),
            ("fma", "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_active"),
            ("xu", "sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_active"))


def machine(folder, all_):
    card = all_["card"]
    yield f"{card.get('name') or 'no card'}, driver {card.get('driver', '?')}, nvcc {all_['nvcc'] or '?'}, " \
          f"commit {all_['commit'] or '?'}, {len(all_['kernels'])} kernels"


def steps(folder, all_):
    """Shows what ended badly, and what the checks said."""
    seconds = sum(step["seconds"] for step in all_["steps"])
    others = "counters-|test_|.*check-"  # these are told elsewhere
    bad = [step for step in all_["steps"] if step["status"] != 0 and not re.match(others, step["name"])]
    yield f"{len(all_['steps'])} parts, {seconds} s, {len(bad)} of them not well"
    for step in bad[:14]:
        yield f"! {step['name']}: status {step['status']}, {step['seconds']} s: {step['last']}"
    for step in all_["steps"]:
        if step["name"] == "verify" and step["status"] == 0:
            yield f"  verify: {step['last']}"
        if step["name"] in ("tournament-large", "bench-formats") and step["clocks"]:
            yield f"  {step['name']}: {step['clocks']}"
    if all_["exact"]:
        yield f"  exact: {all_['exact']['wrong']} wrong of {all_['exact']['results']}"
    for name in ("tests", "sanitizers"):
        counts = all_[name]
        yield f"  {name}: " + ", ".join(f"{count} {what}" for what, count in counts.items() if what != "bad")
        yield from (f"! {line}" for line in counts["bad"][:3])


def tournament(folder, all_):
    """Shows a kernel a line; of the smaller size, the fractions of a copy alone."""
    yield from (f"! {line}" for line in all_["tournament_failed"])
    largest = max((race["elements"] for race in all_["tournament"]), default=0)
    counters = {(launch["formats"], launch["name"]): launch["counts"] for launch in all_["counters"]}
    for race in all_["tournament"]:
        if race["elements"] == largest:
            yield f"{race['formats']} {race['elements']} elements: copy {race['copy_gb_per_s']:.0f} GB/s"
            for kernel in race["kernels"]:
                yield "  " + describe_kernel(kernel, counters.get((race["formats"], kernel["name"]), {}))
    for race in all_["tournament"]:
        if race["elements"] != largest:
            fractions = (f"{kernel['name']} {kernel['copy_fraction']:.2f}{different(kernel)}"
                         for kernel in race["kernels"] if "ms" in kernel)
            yield f"{race['formats']} {race['elements']}: " + ", ".join(fractions)


def different(kernel):
    return " BITS" if "DIFFERENT" in kernel["bits"] else ""


def describe_kernel(kernel, counts):
    if "failed" in kernel:
        return f"{kernel['name']:<16} {kernel['failed']}"
    parts = (f"{name} {counts[key]:.0f}" for name, key in COUNTERS if key in counts)
    return f"{kernel['name']:<16} {kernel['ms']:8.3f} ms {kernel['copy_fraction']:.3f} of copy, {kernel['resources']}" \
           f"{different(kernel)} {' '.join(parts)}"


def speed(folder, all_):
    for row in (found.read_bench(folder) or {"rows": []})["rows"]:
        if row["engine"] == "fusedopt":
            copy = f" {row['copy_fraction']:.3f} of copy" if "copy_fraction" in row else ""
            yield f"{row['rule']} {row['param_dtype']}/{row['grad_dtype']}/{row['state_format']} {row['shape_set']} " \
                  f"{row['params']}: {row['gb_per_s']:.0f} GB/s{copy} {row['roof_fraction']:.3f} of stream" \
                  f"{' !' if row['wide'] else ''}"


def peers(folder, all_):
    """Shows a case a line: each peer's time by ours."""
    measured = found.read_json(folder, "peers.json") or {}
    lines = []
    for row in measured.get("rows", []):
        if row["engine"] == "fusedopt":
            lines.append(f"{row['rule']} {row['param_dtype']}/{row['state_format']} {row['shape_set']} "
                         f"{row['params']}: {row['gb_per_s']:.0f} GB/s")
        else:
            lines[-1] += f", {row['engine']} {row['time_by_ours']:.2f}"
    for case in measured.get("failed", []):
        lines.append("! failed: " + " ".join(map(str, case.values())))
    if measured.get("left_out"):
        lines.append(f"! {len(measured['left_out'])} cases left out: no time")
    return lines


def main():
    folder = sys.argv[1]
    all_ = found.read(folder)
    parts = [(part.__name__, list(part(folder, all_))) for part in (machine, steps, tournament, speed, peers)]
    while sum(len(lines) + 1 for _, lines in parts) > LINES:  # the longest part is the one to cut
        longest = max((lines for _, lines in parts), key=len)
        del longest[-2:]
        longest.append("...")
    for name, lines in parts:
        print("--", name)
        print("".join(f"{line[:WIDTH].rstrip()}\n" for line in lines), end="")


main()
