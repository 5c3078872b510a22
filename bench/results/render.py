#!/usr/bin/env python3
"""Makes the tables of what was measured: of NAME.json, NAME.peers.json and NAME.gpu.json in this folder NAME.md, and of
all of them the section "Performance" of README.md; of state.json and state.peers.json state.md, and the section "Which
format for which tensor"; of state.few_bits.json the table of four_bits.md. With --check it writes nothing, and fails if one of them would change. What a GPU did is marked
as old where tests/registers.txt has other machine code of that kernel."""

import json
import pathlib
import re
import statistics
import sys

sys.dont_write_bytecode = True
import state_tables  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"
KERNELS = HERE.parents[1] / "tests" / "registers.txt"
SPEED, STATE = "<!-- made by bench/results/render.py -->\n", "<!-- formats, made by bench/results/render.py -->\n"
FEW_BITS = "<!-- few bits, made by bench/results/render.py -->\n"
END = "<!-- end -->\n"


def table(head, rows):
    """Markdown; all columns but the first to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def formats(row):
    return "/".join((row["param_dtype"], row["grad_dtype"], row["state_format"]))


def marked(row, text, wide="wide"):
    return text + (" !" if row[wide] else "")


def of_copy(rows):
    """Tells whether all rows know what part of a copy's throughput they reach."""
    return bool(rows) and all("copy_fraction" in row for row in rows)


def shapes(row):
    return f"{row['params']:,}" if row["shape_set"] == "flat" else f"{row['shape_set']} ({row['params']:,})"


def case(row):
    """What rows of several engines, timed in turns, have in common."""
    return row["rule"], row["param_dtype"], row["grad_dtype"], row["shape_set"], row["params"]


# ---- kernels that have changed -----------------------------------------------------------------------------------


def changed_kernels(gpu):
    """Names the kernels whose machine code is not the same in what was measured and in this tree."""
    if not gpu:
        return []
    lines = (line.split() for line in KERNELS.read_text().splitlines() if not line.startswith("#"))
    today, then = {words[0]: words[-1] for words in lines}, gpu["kernels"]
    return sorted(name for name in today.keys() | then.keys() if today.get(name) != then.get(name))


def old(rule, state_format, changed):
    """Returns the mark of a row if a kernel of an optimizer's step that has the row's loop is among the changed ones."""
    loop = {"sgd": "sgd_plain", "momentum": "sgd_momentum", "rmsprop": "rmsprop_plain"}.get(rule, "adam_plain")
    if state_format == "q8":
        loop = loop.removesuffix("_plain") + "_quantized"
    kernels = (name for name in changed if not name.startswith("step_update<"))
    return " *old*" if any(re.search(rf"<{loop}[,>]", name) for name in kernels) else ""


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


def bench_rows(rows, changed):
    for row in rows:
        mark = old(row["rule"], row["state_format"], changed) if row["engine"] == "fusedopt" else ""
        copy = [f"{row['copy_fraction']:.2f}"] if of_copy(rows) else []
        yield (f"{row['rule']} {formats(row)}{mark}", shapes(row), row["tensors"], row["engine"],
               f"{row['ns_per_param']:.3f}", f"{row['gb_per_s']:.1f}", f"{row['roof_fraction']:.2f}", *copy,
               marked(row, f"{100 * row['spread']:.0f} %"), f"{row['host_us']:.0f}", row["launches"])


def large(rows):
    """One tensor of the most parameters, by fusedopt."""
    most = max(row["params"] for row in rows if row["shape_set"] == "flat")
    return [row for row in rows if row["params"] == most and row["engine"] == "fusedopt"]


def others(row, rows):
    """What the other engines of a row's case take, as multiples of its time."""
    same = [other for other in rows if case(other) == case(row) and other["state_format"] == row["state_format"]]
    return {other["engine"]: other["ns_per_param"] / row["ns_per_param"] for other in same if other is not row}


def short_rows(rows, changed):
    for row in large(rows):
        ratios = others(row, rows)
        copy = [f"{row['copy_fraction']:.2f}"] if of_copy(rows) else []
        yield (f"{row['rule']} {formats(row)}{old(row['rule'], row['state_format'], changed)}",
               f"{row['bytes_per_param']:.4g}", f"{row['ns_per_param']:.3f}", f"{row['gb_per_s']:.1f}",
               marked(row, f"{row['roof_fraction']:.2f}"), *copy,
               *(f"{ratios[name]:.2f}x" if name in ratios else "" for name in ("loop", "blas")))


# ---- the library and its peers -----------------------------------------------------------------------------------


def peer_rows(rows, changed):
    """For each case its peers' times by ours, timed in turns."""
    for first in (row for row in rows if row["engine"] == "fusedopt"):
        peers = rows[rows.index(first) + 1 :]
        for row in peers:
            if row["engine"] == "fusedopt":
                break
            low, _, high = row["time_by_ours_quartiles"]
            mark = old(first["rule"], first["state_format"], changed)
            yield (f"{row['rule']} {formats(row)}{mark}", shapes(row), row["engine"], f"{row['ns_per_param']:.3f}",
                   f"{first['ns_per_param']:.3f} ({first['state_format']} state)",
                   marked(row, f"{row['time_by_ours']:.2f}x", "time_by_ours_wide"), f"{low:.2f}-{high:.2f}")


def summary(rows, changed):
    """One line for each peer."""
    for name in dict.fromkeys(row["engine"] for row in rows if row["engine"] != "fusedopt"):
        theirs = [row for row in rows if row["engine"] == name]
        ratios = [row["time_by_ours"] for row in theirs]
        mark = max(old(row["rule"], row["state_format"], changed) for row in theirs)
        yield name + mark, f"{min(ratios):.2f}x", f"{statistics.median(ratios):.2f}x", f"{max(ratios):.2f}x", len(ratios)


# ---- what a run of bench/gpu/run alone knows ---------------------------------------------------------------------


def share(counts, key):
    return f"{counts[key]:.0f} %" if key in counts else ""


def race_rows(races, changed):
    for race in races:
        for kernel in race["kernels"]:
            _, _, state = race["formats"].split("/")
            mark = old("adam", state, changed) if kernel["name"] == "landed" else ""
            head = f"{race['formats']} {kernel['name']}{mark}", f"{race['elements']:,}"
            if "failed" in kernel:
                yield *head, kernel["failed"], "", "", "", ""
            else:
                yield (*head, f"{kernel['ms']:.3f}", f"{kernel['gb_per_s']:.0f}", f"{kernel['copy_fraction']:.3f}",
                       kernel["resources"], kernel["bits"])


def counter_rows(counters, changed):
    for launch in counters:
        counts = launch["counts"]
        moved = [counts.get(f"dram__bytes_{way}.sum") for way in ("read", "write")]
        mark = old("adam", launch["formats"].split("/")[-1], changed) if launch["name"] == "landed" else ""
        name = f"{launch['formats']} {launch['name']}{mark}" if launch["name"] else launch["kernel"].split("(")[0]
        yield (name, "" if None in moved else f"{sum(moved) / 1e9:.3f}",
               f"{counts['smsp__inst_executed.sum'] / 1e6:.1f}" if "smsp__inst_executed.sum" in counts else "",
               *(share(counts, key) for key in COUNTERS))


def short_checks(gpu, changed):
    exact, verify, tests, sanitizers = gpu["exact"], gpu["verify"], gpu["tests"], gpu["sanitizers"]
    mark = " *old*" if changed else ""
    yield "fusedopt_exact", f"{exact['wrong']:,} wrong of {exact['results']:,}" if exact else "did not run"
    yield f"fusedopt verify{mark}", (f"{verify['differing_bits']:,} of {verify['elements']:,} differ, cases: "
                                     f"{verify['cases']:,}, at most {verify['worst_ulp']:.2f} ULP from the formulas")
    yield f"device tests{mark}", f"{tests['ok']} passed, {tests['not ok']} failed, {tests['skipped']} skipped"
    yield f"compute-sanitizer{mark}", f"{sanitizers['clean']} runs clean, {sanitizers['not clean']} not"


def check_rows(gpu, changed):
    """Yields the checks; what failed in them; and other parts of the run that did not end well."""
    yield from short_checks(gpu, changed)
    for line in gpu["tests"]["bad"] + gpu["sanitizers"]["bad"]:
        yield "failed", line.replace("|", "/")
    for step in gpu["steps"]:
        told = step["name"].startswith("test_") or "check-" in step["name"]
        tried_again = step["name"].startswith("counters-") and gpu["counters"]
        if step["status"] != 0 and not told and not tried_again:
            yield step["name"], f"status {step['status']} after {step['seconds']} s: {step['last']}".replace("|", "/")


def gpu_page(gpu, changed):
    clocks = (f"{step['name']}: {step['clocks']}" for step in gpu["steps"] if step["clocks"])
    text = "\n## Checks\n\n" + table(("check", "result"), check_rows(gpu, changed))
    if gpu["tournament"]:
        text += "\n## Kernels in turns with a copy\n\n" + table(RACE_HEAD, race_rows(gpu["tournament"], changed))
    if gpu["counters"]:
        text += "\nWhat `ncu` counted in one launch of each:\n\n" + table(COUNTER_HEAD, counter_rows(gpu["counters"], changed))
    card = gpu["card"]
    text += f"\n## The card\n\n{card.get('name', 'unknown')}, driver {card.get('driver', 'unknown')}, nvcc {gpu['nvcc']}"
    text += f", {gpu['date']}. Before: SM {card.get('sm_clock', '?')}, memory {card.get('memory_clock', '?')}. Meanwhile:\n\n"
    return text + "".join(f"- {line}\n" for line in clocks)


def describe_changes(gpu, changed):
    """Explains what `*old*` means, and why, if anything is old."""
    if not changed:
        return ""
    here = re.search(r"^# nvcc V(\S+)", KERNELS.read_text(), re.MULTILINE)[1]
    compilers = f" (nvcc {gpu['nvcc']} there, {here} here)" if gpu["nvcc"] != here else ""
    names = ", ".join(f"`{name}`" for name in changed[:8]) + (f" and {len(changed) - 8} more" if changed[8:] else "")
    return f"*old*: kernels that have changed since{compilers}: {names}.\n"


# ---- pages -------------------------------------------------------------------------------------------------------

NOISY = "A `!` marks what another run might well give otherwise: the middle half of its samples is wider than 10 % of " \
        "their\nmedian, or the medians of the first and the second half of the run differ by more than 5 %.\n"

COUNTERS = ("dram__throughput.avg.pct_of_peak_sustained_elapsed", "smsp__issue_active.avg.pct_of_peak_sustained_active",
            "sm__inst_executed_pipe_alu.avg.pct_of_peak_sustained_active",
            "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_active",
            "sm__warps_active.avg.pct_of_peak_sustained_active")
COUNTER_HEAD = ("kernel", "GB", "M instructions", "DRAM busy", "issue", "ALU", "FMA", "warps")
RACE_HEAD = ("formats and kernel", "parameters", "ms", "GB/s", "of a copy", "resources", "bits")
BENCH_HEAD = ("rule and formats", "parameters", "tensors", "engine", "ns/parameter", "GB/s", "of the roof", "spread",
              "host us", "kernels")
PEERS_HEAD = ("rule and formats", "parameters", "peer", "its ns/parameter", "ours", "its time by ours", "middle half")
SUMMARY_HEAD = ("its time by ours", "least", "median", "most", "cases")
SHORT_HEAD = ("rule and formats", "bytes", "ns/parameter", "GB/s", "of the roof", "a loop takes", "BLAS calls take")


def with_copy(head, rows):
    """Adds to a table's head the column that such rows have."""
    after = head.index("of the roof") + 1
    return (*head[:after], "of a copy", *head[after:]) if of_copy(rows) else head


def page(name, bench, peers, gpu):
    changed = changed_kernels(gpu)
    how = "bench/gpu/run" if gpu else f"bench/results/measure {name}"
    text = f"# {describe_machine(bench)}\n\nMeasured by `{how}`. {NOISY}{describe_changes(gpu, changed)}\n"
    text += describe_roofs(bench)
    if (HERE / f"{name}.svg").exists():
        text += f"\n![throughput by size]({name}.svg)\n"
    text += "\n" + table(with_copy(BENCH_HEAD, bench["rows"]), bench_rows(bench["rows"], changed))
    if peers:
        versions = ", ".join(f"{name} {peers['versions'][name]}" for name in ("torch", "bitsandbytes"))
        text += f"\n## In turns with {versions}\n\n" + table(PEERS_HEAD, peer_rows(peers["rows"], changed))
        text += "\n" + table(SUMMARY_HEAD, summary(peers["rows"], changed))
    return text + (gpu_page(gpu, changed) if gpu else "")


def section(machines):
    text = ""
    for name, bench, peers, gpu in machines:
        changed = changed_kernels(gpu)
        text += f"\n### {describe_machine(bench)}\n\n{describe_roofs(bench)}\n"
        text += table(with_copy(SHORT_HEAD, bench["rows"]), short_rows(bench["rows"], changed))
        if peers:
            text += "\n" + table(SUMMARY_HEAD, summary(peers["rows"], changed))
        if gpu:
            checks = "; ".join(f"{check}: {result}" for check, result in short_checks(gpu, changed))
            text += f"\nChecked there: {checks}.\n" + ("\n" if changed else "") + describe_changes(gpu, changed)
        text += f"\nAll of it: [bench/results/{name}.md](bench/results/{name}.md).\n"
    return text + "\n" + NOISY


def load(path):
    return json.loads(path.read_text()) if path.exists() else None


def replace(path, text):
    """Writes a file whole or not at all."""
    new = path.with_name(path.name + ".tmp")
    try:
        new.write_text(text)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def replaced(text, mark, made):
    """Puts what was made between the line `mark` and the next END."""
    before, begin, rest = text.partition(mark)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"no line {mark.strip()}, or no {END.strip()} after it")
    return before + begin + made + end + after


def main():
    stems = (path.stem for path in HERE.glob("*.json"))
    names = sorted(stem for stem in stems if not {"state", "peers", "gpu"} & set(stem.split(".")))
    machines = [(name, *(load(HERE / f"{name}{kind}.json") for kind in ("", ".peers", ".gpu"))) for name in names]
    state, others = load(HERE / "state.json"), load(HERE / "state.peers.json")
    wanted = {HERE / f"{name}.md": page(name, *data) for name, *data in machines}
    wanted[HERE / "state.md"] = state_tables.page(state, others, table)
    few_bits, few_bits_page = load(HERE / "state.few_bits.json"), HERE / "four_bits.md"
    wanted[few_bits_page] = replaced(few_bits_page.read_text(), FEW_BITS, state_tables.few_bits(few_bits, table))
    readme = replaced(README.read_text(), SPEED, section(machines))
    wanted[README] = replaced(readme, STATE, state_tables.section(state, others, table))
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if sys.argv[1:] == ["--check"]:
        for path in stale:
            print(f"{path.name} is not what render.py makes of the measurements", file=sys.stderr)
        sys.exit(bool(stale))
    for path in stale:
        replace(path, wanted[path])


if __name__ == "__main__":
    main()
