#!/usr/bin/env python3
"""Makes the tables of what was measured: of NAME.json and NAME.peers.json in this folder NAME.md, and of all of them the
section "Performance" of README.md. With --check it writes nothing, and fails if one of them would change."""

import json
import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"
BEGIN, END = "<!-- made by bench/results/render.py -->\n", "<!-- end -->\n"


def table(head, rows):
    """Markdown; all columns but the first to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def formats(row):
    return "/".join((row["param_dtype"], row["grad_dtype"], row["state_format"]))


def marked(row, text, wide="wide"):
    return text + (" !" if row[wide] else "")


def shapes(row):
    return f"{row['params']:,}" if row["shape_set"] == "flat" else f"{row['shape_set']} ({row['params']:,})"


def case(row):
    """What rows of several engines, timed in turns, have in common."""
    return row["rule"], row["param_dtype"], row["grad_dtype"], row["shape_set"], row["params"]


# ---- the library and its roof ------------------------------------------------------------------------------------


def describe_machine(data):
    device, versions = data["device"], data["versions"]
    threads = f", {device['threads']} threads" if "threads" in device else ""
    isa = f", {device['isa']}" if "isa" in device else ""
    driver = f", {versions['driver']}" if versions["driver"] != "none" else ""
    return f"{device['name']}{threads}{isa}{driver}; commit {data['commit']}"


def describe_roofs(data):
    largest = max(data["roofs"], key=lambda roof: roof["bytes"])
    return (f"In arrays of {largest['bytes'] / 1e9:.2f} GB the memory does {largest['stream_gb_per_s']:.1f} GB/s in "
            f"`a[i] = a[i] * s + b[i]`, the roof, and {largest['copy_gb_per_s']:.1f} GB/s in a copy.\n")


def bench_rows(rows):
    for row in rows:
        yield (f"{row['rule']} {formats(row)}", shapes(row), row["tensors"], row["engine"],
               f"{row['ns_per_param']:.3f}", f"{row['gb_per_s']:.1f}", f"{row['roof_fraction']:.2f}",
               marked(row, f"{100 * row['spread']:.0f} %"), f"{row['host_us']:.0f}", row["launches"])


def large(rows):
    """One tensor of the most parameters, by fusedopt."""
    most = max(row["params"] for row in rows if row["shape_set"] == "flat")
    return [row for row in rows if row["params"] == most and row["engine"] == "fusedopt"]


def others(row, rows):
    """What the other engines of a row's case take, as multiples of its time."""
    same = [other for other in rows if case(other) == case(row) and other["state_format"] == row["state_format"]]
    return {other["engine"]: other["ns_per_param"] / row["ns_per_param"] for other in same if other is not row}


def short_rows(rows):
    for row in large(rows):
        ratios = others(row, rows)
        yield (f"{row['rule']} {formats(row)}", f"{row['bytes_per_param']:.4g}", f"{row['ns_per_param']:.3f}",
               f"{row['gb_per_s']:.1f}", marked(row, f"{row['roof_fraction']:.2f}"),
               *(f"{ratios[name]:.2f}x" if name in ratios else "" for name in ("loop", "blas")))


# ---- the library and its peers -----------------------------------------------------------------------------------


def peer_rows(rows):
    """For each case its peers' times by ours, timed in turns."""
    for first in (row for row in rows if row["engine"] == "fusedopt"):
        peers = rows[rows.index(first) + 1 :]
        for row in peers:
            if row["engine"] == "fusedopt":
                break
            low, _, high = row["time_by_ours_quartiles"]
            yield (f"{row['rule']} {formats(row)}", shapes(row), row["engine"], f"{row['ns_per_param']:.3f}",
                   f"{first['ns_per_param']:.3f} ({first['state_format']} state)",
                   marked(row, f"{row['time_by_ours']:.2f}x", "time_by_ours_wide"), f"{low:.2f}-{high:.2f}")


def summary(rows):
    """One line for each peer."""
    for name in dict.fromkeys(row["engine"] for row in rows if row["engine"] != "fusedopt"):
        ratios = [row["time_by_ours"] for row in rows if row["engine"] == name]
        yield name, f"{min(ratios):.2f}x", f"{statistics.median(ratios):.2f}x", f"{max(ratios):.2f}x", len(ratios)


# ---- pages -------------------------------------------------------------------------------------------------------

NOISY = "A `!` marks what another run might well give otherwise: the middle half of its samples is wider than 10 % of " \
        "their\nmedian, or the medians of the first and the second half of the run differ by more than 5 %.\n"

BENCH_HEAD = ("rule and formats", "parameters", "tensors", "engine", "ns/parameter", "GB/s", "of the roof", "spread",
              "host us", "kernels")
PEERS_HEAD = ("rule and formats", "parameters", "peer", "its ns/parameter", "ours", "its time by ours", "middle half")
SUMMARY_HEAD = ("its time by ours", "least", "median", "most", "cases")
SHORT_HEAD = ("rule and formats", "bytes", "ns/parameter", "GB/s", "of the roof", "a loop takes", "BLAS calls take")


def page(name, bench, peers):
    text = f"# {describe_machine(bench)}\n\nMeasured by `bench/results/measure {name}`. {NOISY}\n"
    text += describe_roofs(bench) + f"\n![throughput by size]({name}.svg)\n\n" + table(BENCH_HEAD, bench_rows(bench["rows"]))
    if peers:
        versions = ", ".join(f"{name} {peers['versions'][name]}" for name in ("torch", "bitsandbytes"))
        text += f"\n## In turns with {versions}\n\n" + table(PEERS_HEAD, peer_rows(peers["rows"]))
        text += "\n" + table(SUMMARY_HEAD, summary(peers["rows"]))
    return text


def section(machines):
    text = ""
    for name, bench, peers in machines:
        text += f"\n### {describe_machine(bench)}\n\n{describe_roofs(bench)}\n"
        text += table(SHORT_HEAD, short_rows(bench["rows"]))
        if peers:
            text += "\n" + table(SUMMARY_HEAD, summary(peers["rows"]))
        text += f"\nAll of it: [bench/results/{name}.md](bench/results/{name}.md).\n"
    return text + "\n" + NOISY


def load(path):
    return json.loads(path.read_text()) if path.exists() else None


def main():
    names = sorted(path.stem for path in HERE.glob("*.json") if not path.stem.endswith(".peers"))
    machines = [(name, load(HERE / f"{name}.json"), load(HERE / f"{name}.peers.json")) for name in names]
    readme = README.read_text()
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{README} has no line {BEGIN.strip()}, or no {END.strip()} after it")
    wanted = {HERE / f"{name}.md": page(name, *data) for name, *data in machines}
    wanted[README] = before + begin + section(machines) + end + after
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if sys.argv[1:] == ["--check"]:
        for path in stale:
            print(f"{path.name} is not what render.py makes of the measurements", file=sys.stderr)
        sys.exit(bool(stale))
    for path in stale:
        path.write_text(wanted[path])


main()
