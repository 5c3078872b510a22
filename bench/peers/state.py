"""Measures how good Adam's updates are with the moments as others store them, as `fusedopt state` does for the
library's formats: the same gradients to the bit, the same figures. bitsandbytes really runs; FlashOptim, torchao's
4-bit and SOLO's 4- and 2-bit optimizers are computed by their formulas, in single precision."""

import argparse
import concurrent.futures
import os
import signal
import sys

try:
    import numpy as np
except ImportError as error:
    print(f"bench/peers/state.py needs NumPy, which {sys.executable} has not: {error}", file=sys.stderr)
    sys.exit(3)

import few_bits
import gradients
import machine
import moments
import record

EVERY = 10  # steps, of which one is measured


class Exact:
    """Adam in double, straight from the formulas."""

    def __init__(self, elements, betas):
        self.m, self.v, self.betas = np.zeros(elements), np.zeros(elements), betas

    def step(self, g):
        beta1, beta2 = self.betas
        g = g.astype(np.float64)
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * (g * g)
        for moment in (self.m, self.v):
            moment[np.abs(moment) < sys.float_info.min] = 0  # subnormal numbers are slow, and move nothing

    def update(self, t):
        beta1, beta2 = self.betas
        return self.m / (1 - beta1**t) / (np.sqrt(self.v) / np.sqrt(1 - beta2**t) + moments.EPS)


class Figures:
    """Sums over all elements of the steps that are measured."""

    def __init__(self):
        self.errors = self.squares = self.products = self.largest = self.largest_exact = 0.0

    def add(self, update, exact):
        update = update.astype(np.float64)
        self.errors += float(np.square(update - exact).sum())
        self.squares += float(np.square(exact).sum())
        self.products += float((update * exact).sum())
        self.largest = max(self.largest, float(np.abs(update).max()))
        self.largest_exact = max(self.largest_exact, float(np.abs(exact).max()))

    def row(self):
        return {
            "error": (self.errors / self.squares) ** 0.5,
            "gain": self.products / self.squares,
            "worst_update": self.largest / self.largest_exact,
        }


def run(kind, given):
    """One kind of gradients: a row for each of them all."""
    stops, unmeasured = kind == "stop", given.steps // 10 if given.steps < 20000 else 2000
    elements = given.elements // 16 if stops else given.elements
    steps = gradients.FEW + 5 * given.steps if stops else given.steps
    begin = gradients.FEW if stops else unmeasured
    source = gradients.Gradients(gradients.Pool(given.seed), kind, elements, steps, unmeasured // 2)
    betas, engines = (given.beta1, given.beta2), (few_bits if given.few_bits else moments).all_of_them()
    for engine in engines:
        engine.begin(elements, betas, given.seed)
    exact, sums = Exact(elements, betas), [Figures() for _ in engines]
    way, ways = np.zeros(elements), [np.zeros(elements) for _ in engines]
    for t in range(1, steps + 1):
        g = source.next(t)
        exact.step(g)
        measured = t > begin and (stops or t % EVERY == 0)
        wanted = exact.update(t) if measured else None
        for engine, figures, moved in zip(engines, sums, ways):
            update = engine.step(g, t)
            if measured and stops:
                moved += update
            elif measured:
                figures.add(update, wanted)
        if measured and stops:
            way += wanted
    beside = np.arange(elements) % gradients.NEIGHBOURS != 0
    for engine, figures, moved in zip(engines, sums, ways):
        row = {"engine": engine.engine, "gradients": kind, "beta1": given.beta1, "beta2": given.beta2,
               "state_bytes_per_param": engine.bytes}
        if stops:
            row["moved"] = float(np.abs(moved)[beside].sum() / np.abs(way)[beside].sum())
        else:
            row |= figures.row()
            row["second_moment_by_exact"] = float(engine.second().astype(np.float64).sum() / exact.v.sum())
        yield {key: value if not isinstance(value, float) or np.isfinite(value) else None for key, value in row.items()}


def work(kind, given):
    np.seterr(all="ignore")  # what is not a number is told of
    if moments.bitsandbytes:
        moments.torch.set_num_threads(1)
    return list(run(kind, given))


COLUMNS = "{:<9} {:<25} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9}"
FIGURES = ("error", "gain", "second_moment_by_exact", "worst_update", "moved")


def print_row(row):
    cells = ("-" if key not in row else "not finite" if row[key] is None else f"{row[key]:.3g}" for key in FIGURES)
    print(COLUMNS.format(row["gradients"], row["engine"], f"{row['state_bytes_per_param']:.2f}", *cells), flush=True)


def main():
    parser = argparse.ArgumentParser(prog="bench/peers/run state", description=__doc__)
    parser.add_argument("--steps", type=int, help="20000")
    parser.add_argument("--elements", type=int, help="16384; a multiple of 4096")
    parser.add_argument("--beta1", type=float, default=0.9)
    parser.add_argument("--beta2", type=float, default=0.999)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--few-bits", action="store_true", help="what was tried for about one byte, instead of others'")
    parser.add_argument("--quick", action="store_true", help="4096 elements, 2000 steps, where these are not given")
    parser.add_argument("--json", metavar="FILE", help="write machine, options and rows to FILE")
    given = parser.parse_args()
    given.steps = given.steps or (2000 if given.quick else 20000)
    given.elements = given.elements or (4096 if given.quick else 16384)
    if given.elements % 4096 or given.steps < 100:
        parser.error("--elements must be a multiple of 4096, and --steps at least 100")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what is being written is then removed
    if not moments.bitsandbytes:
        print(f"without bitsandbytes: {moments.why_no_bitsandbytes}")
    if given.json:
        record.check(given.json)
    found = machine.describe("cpu")
    options = {"steps": given.steps, "elements": given.elements, "seed": given.seed, "measured_every": EVERY}
    found |= {"options": options, "rows": []}
    heads = ("error", "gain", "second", "worst", "moved")
    print(COLUMNS.format("gradients", "moments", "bytes/param", *heads), flush=True)
    with concurrent.futures.ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for rows in pool.map(work, gradients.KINDS, [given] * len(gradients.KINDS)):
            found["rows"] += rows
            for row in rows:
                print_row(row)
    if given.json:
        record.write(given.json, found)


if __name__ == "__main__":
    main()
