"""Compares the library's step with those of PyTorch and of bitsandbytes, in turns, in one run: see --help."""

import argparse
import gc
import signal
import statistics
import sys

try:
    import torch  # before fusedopt: the two then share one OpenMP, whose idle threads would else slow the other's
except ImportError as error:
    print(f"bench/peers needs PyTorch, which {sys.executable} has not: {error}", file=sys.stderr)
    sys.exit(3)
import fusedopt

import engines
import machine
import record
from measure import Roof, is_wide, launches, quartiles, time_rounds


def gpt2():
    """GPT-2 of 124M parameters; the output layer shares the token embedding."""
    width = 768
    norm, affine = [width, width], lambda inputs, outputs: [inputs * outputs, outputs]
    layer = norm + affine(width, 3 * width) + affine(width, width) + norm
    layer += affine(width, 4 * width) + affine(4 * width, width)
    return [50257 * width, 1024 * width] + 12 * layer + norm


PLAIN = [("adam", "f32"), ("adamw", "f32"), ("momentum", "f32"), ("adam", "bf16"), ("adamw", "bf16")]


def cpu_cases(quick):
    sizes = [1 << 20] if quick else [1 << 20, 1 << 24, 1 << 26]
    for rule, form in PLAIN:
        for size in sizes:
            yield rule, form, form, "flat", [size]
        if not quick:
            yield rule, form, form, "gpt2", gpt2()
    for size in sizes[:2]:
        yield "adamw", "f32", "q8", "flat", [size]


def cuda_cases(quick):
    """What matters most comes first: there may not be time for all."""
    size = 1 << (24 if quick else 28)
    for form, state_format in (("bf16", "q8"), ("f32", "f32"), ("bf16", "bf16"), ("f32", "q8")):
        yield "adamw", form, state_format, "flat", [size]
        if not quick:
            yield "adamw", form, state_format, "gpt2", gpt2()
    yield "momentum", "f32", "f32", "flat", [size]
    if not quick:
        for small in (1 << 20, 1 << 24):
            yield "adamw", "f32", "f32", "flat", [small]
            yield "adam", "bf16", "bf16", "flat", [small]


def cases(device, quick):
    """(rule, format of parameters and gradients, of state, name of the shapes, shapes)."""
    for case in cuda_cases(quick) if device == "cuda" else cpu_cases(quick):
        if case[2] != "q8" or engines.bitsandbytes:
            yield case


def make_params(form, counts, device):
    generator = torch.Generator(device).manual_seed(1)
    for count in counts:
        values = [torch.randn(count, generator=generator, device=device).to(engines.FORMATS[form][0]) for _ in range(2)]
        param = torch.nn.Parameter(values[0])
        param.grad = values[1]
        yield param


def describe_row(case, engine, times, ours, roof_times, count, device):
    """`ours` are the library's times; None if the engine is the library. `roof_times` are those of the stream and the
    copy, over `count` elements."""
    rule, form, _, shapes, counts = case
    seconds = [device_time for device_time, _ in times]
    low, middle, high = quartiles(seconds)
    params = sum(counts)
    moved = engine.bytes_per_param(rule, form, form)
    stream, copy = (
        statistics.median(moved * params / s / (roof_bytes * count / roof) for s, (roof, _) in zip(seconds, times_of))
        for times_of, roof_bytes in zip(roof_times, (12, 8))
    )
    row = {
        "engine": engine.name,
        "rule": rule,
        "param_dtype": form,
        "grad_dtype": form,
        "state_format": engine.state_format,
        "shape_set": shapes,
        "params": params,
        "tensors": len(counts),
        "ns_per_param": 1e9 * middle / params,
        "gb_per_s": 1e-9 * moved * params / middle,
        "roof_fraction": stream,
        "copy_fraction": copy,
        "host_us": 1e6 * statistics.median(host for _, host in times),
        "launches": launches(engine.step, device == "cuda"),
        "spread": (high - low) / middle,
        "samples": len(seconds),
        "wide": is_wide(seconds),
        "bytes_per_param": moved,
    }
    if ours:
        ratios = [theirs / our for theirs, (our, _) in zip(seconds, ours)]
        row["time_by_ours"] = statistics.median(ratios)
        row["time_by_ours_quartiles"] = quartiles(ratios)
        row["time_by_ours_wide"] = is_wide(ratios)
    return row


def measure_case(case, device, rounds, seconds):
    """The rows of a case, and its roof."""
    rule, form, state_format, _, counts = case
    params = list(make_params(form, counts, device))
    made = engines.engines(rule, params, form, state_format)
    bytes_in_all = int(sum(counts) * made[0].bytes_per_param(rule, form, form))
    roof = Roof(min(bytes_in_all // 8, 1 << 27), device)
    times = time_rounds([roof.stream, roof.copy, *(engine.step for engine in made)], device, rounds, seconds)
    count = roof.a.numel()
    rows = [
        describe_row(case, engine, times[2 + i], None if i == 0 else times[2], times[:2], count, device)
        for i, engine in enumerate(made)
    ]
    described = {"bytes": 8 * count}
    for name, moved, of in (("copy", 8, times[1]), ("stream", 12, times[0])):
        described[f"{name}_gb_per_s"] = 1e-9 * moved * count / statistics.median(s for s, _ in of)
    return rows, described


COLUMNS = "{:<9} {:<15} {:<6} {:>10} {:>7}  {:<18} {:>9} {:>7} {:>6} {:>6} {:>7} {:>10} {:>7}  {}"


def print_rows(rows):
    for row in rows:
        formats = "/".join((row["param_dtype"], row["grad_dtype"], row["state_format"]))
        ratio = "" if "time_by_ours" not in row else "{:.2f} ({:.2f}-{:.2f}){}".format(
            row["time_by_ours"], row["time_by_ours_quartiles"][0], row["time_by_ours_quartiles"][2],
            "!" if row["time_by_ours_wide"] else "")
        spread = "{:.0f} %{}".format(100 * row["spread"], "!" if row["wide"] else " ")
        print(COLUMNS.format(row["rule"], formats, row["shape_set"], row["params"], row["tensors"], row["engine"],
                             f"{row['ns_per_param']:.4f}", f"{row['gb_per_s']:.2f}", f"{row['copy_fraction']:.3f}",
                             f"{row['roof_fraction']:.3f}", spread, f"{row['host_us']:.1f}", row["launches"], ratio),
              flush=True)


def main():
    parser = argparse.ArgumentParser(prog="bench/peers/run", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeat", type=int, default=31, help="samples of each (31), fewer where they take long")
    parser.add_argument("--quick", action="store_true", help="one size alone: half a minute at most")
    parser.add_argument("--json", metavar="FILE", help="write machine, roofs and rows to FILE")
    parser.add_argument("--seconds", type=float, metavar="N",
                        help="begin no case after N seconds (else all are measured: in 5 minutes, quick ones in 15 s)")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what is being written is then removed
    if not engines.bitsandbytes:
        print(f"without bitsandbytes: {engines.why_no_bitsandbytes}")
    found = machine.describe(given.device)
    if given.json:
        record.check(given.json)
    print(COLUMNS.format("rule", "formats", "shapes", "params", "tensors", "engine", "ns/param", "GB/s", "copy",
                         "stream", "spread", "host us", "kernels", "its time by ours"))

    def measure(case, seconds):
        try:
            rows, roof = measure_case(case, given.device, given.repeat, seconds)
            print_rows(rows)
            return rows, roof
        finally:
            gc.collect()
            if given.device == "cuda":
                torch.cuda.empty_cache()

    seconds = given.seconds if given.seconds is not None else 15 if given.quick else 300
    record.go_through(cases(given.device, given.quick), measure, found, given.json, seconds, given.seconds is not None)
    print("\ncopy, stream: the part of what a = b, and a = a / 2 + b, reach in arrays of the same size, timed in turns"
          "\n!  wide, or not the same in both halves of the run: this machine was too busy for it")
    return 1 if found["failed"] or not found["rows"] else 0


if __name__ == "__main__":
    sys.exit(main())
