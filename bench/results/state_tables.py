"""The tables of what `fusedopt state` and bench/peers/state.py found: which format for which tensor. For render.py."""

import textwrap

KINDS = ("dense", "embed", "spike", "norm", "decay")  # of gradients that are judged by the error of the update

# What a tensor's gradients are like, by the kinds that fusedopt state has.
TENSORS = (
    ("weights of layers that every sample uses", ("dense", "decay")),
    ("weights whose gradients have outliers, or stop", ("dense", "spike", "stop")),
    ("embeddings, experts: rows that are used rarely", ("embed", "stop")),
    ("norms, biases: neighbours of different sizes", ("norm",)),
)
MOST_ERROR, MOST_GAIN, MOST_WORST, MOST_MOVED = 0.1, 0.05, 1.5, 2

BOUNDS = (f"an error of at most {100 * MOST_ERROR:.0f} % of the update (RMS), updates that are on the whole at most "
          f"{100 * MOST_GAIN:.0f} % too long or too short, none longer than {MOST_WORST:g} times the longest exact "
          f"one, and, where gradients may stop, parameters that then go at most {MOST_MOVED:g} times as far as they "
          "should")


def by_format(rows):
    """The rows of what is stored alike, by kind of gradients, for the first betas that were measured: name -> kind ->
    row."""
    betas = rows[0]["beta1"], rows[0]["beta2"]
    found = {}
    for row in rows:
        if (row["beta1"], row["beta2"]) == betas:
            found.setdefault(name_of(row), {})[row["gradients"]] = row
    return found


def name_of(row):
    """Ours are named by the formats of the two moments, others by themselves."""
    if "engine" in row:
        return row["engine"]
    first, second = row["first_moment"], row["second_moment"]
    return first if first == second else f"{first}, {second}"


def is_good(row):
    if row["gradients"] == "stop":
        return row["moved"] <= MOST_MOVED
    return (row["error"] <= MOST_ERROR and abs(row["gain"] - 1) <= MOST_GAIN and row["worst_update"] <= MOST_WORST)


def choices(rows):
    """For each tensor the format of the fewest bytes that is within the bounds."""
    formats = by_format(rows)
    for tensor, kinds in TENSORS:
        good = [name for name, kind in formats.items() if all(is_good(kind[k]) for k in kinds)]
        best = min(good, key=lambda name: formats[name][kinds[0]]["state_bytes_per_param"])
        chosen = formats[best]
        errors = [percent(chosen[k]["error"]) for k in kinds if k != "stop"]
        yield (tensor, ", ".join(kinds), f"`{best}`", f"{chosen[kinds[0]]['state_bytes_per_param']:.2f}",
               ", ".join(errors))


def percent(part):
    """None is what was not finite."""
    if part is None:
        return "not finite"
    if part >= 10:
        return times(part)
    return f"{100 * part:.0e} %" if part < 0.001 else f"{100 * part:.1f} %" if part < 0.1 else f"{100 * part:.0f} %"


def times(number):
    if number is None:
        return "not finite"
    return f"{number:.2f}x" if number < 10 else f"{number:,.0f}x" if number < 1e6 else f"{number:.0e}x"


def plain(number):
    return "" if number is None else f"{number:.3f}" if 0.001 <= number < 1000 else f"{number:.1e}"


def largest(numbers):
    numbers = list(numbers)
    return None if None in numbers else max(numbers)


def error_rows(rows):
    """A line for each format: errors by kind, the largest update of all, and the way after a stop."""
    for name, kinds in by_format(rows).items():
        yield (name, f"{kinds['dense']['state_bytes_per_param']:.2f}", *(percent(kinds[k]["error"]) for k in KINDS),
               times(largest(kinds[k]["worst_update"] for k in KINDS)), times(kinds["stop"]["moved"]))


def figure_rows(rows):
    """Every row, with all its figures."""
    for row in rows:
        figures = (row.get(key) for key in ("error", "gain", "second_moment_by_exact", "worst_update", "moved"))
        yield (f"{row['gradients']}, {row['beta1']:g}, {row['beta2']:g}", name_of(row),
               f"{row['state_bytes_per_param']:.2f}", *map(plain, figures))


CHOICE_HEAD = ("tensor", "judged by", "moments", "bytes", "errors")
ERROR_HEAD = ("moments", "bytes", *KINDS, "largest step", "after a stop")
FIGURE_HEAD = ("gradients, beta1, beta2", "moments", "bytes", "error", "gain", "second", "worst", "moved")


def describe_options(data):
    options = data["options"]
    return (f"{options['elements']:,} elements, {options['steps']:,} steps, compared at every "
            f"{options['measured_every']}th after the first {options['measured_after']:,}")


def fill(*sentences):
    return textwrap.fill(" ".join(sentences), 120, break_long_words=False, break_on_hyphens=False) + "\n"


def others(peers):
    """The rows of what is not the library's own: those it has once more, beside them."""
    return [row for row in peers["rows"] if not row["engine"].startswith("fusedopt ")] if peers else []


def section(data, peers, table):
    """README's part."""
    rows = data["rows"]
    text = "\n" + fill(f"Chosen is what has the fewest bytes with {BOUNDS}:")
    text += "\n" + table(CHOICE_HEAD, choices(rows)) + "\nThe errors of all:\n\n" + table(ERROR_HEAD, error_rows(rows))
    if peers:
        text += "\n" + fill("And of others, on the same gradients with the same betas: bitsandbytes as it runs, the rest",
                            "by formulas (`bench/peers/run state`):")
        text += "\n" + table(ERROR_HEAD, error_rows(others(peers)))
    text += "\n" + fill(f"Measured over {describe_options(data)}; commit {data['commit']}. All of it:",
                        "[bench/results/state.md](bench/results/state.md).")
    return text


def page(data, peers, table):
    text = f"# Updates with the moments in each format; commit {data['commit']}\n\n"
    text += fill(f"Measured by `bench/results/measure_state` over {describe_options(data)}. What the words mean is",
                 "told by `fusedopt state`, under its table.")
    text += "\n![errors by gradients](state.svg)\n\n" + table(FIGURE_HEAD, figure_rows(data["rows"]))
    if peers:
        version = peers["versions"]["bitsandbytes"]
        told = f"On the same gradients: bitsandbytes {version} as it runs, the rest by formulas, which "
        text += "\n## Others\n\n" + fill(told + f"`bench/peers/moments.py` has. Commit {peers['commit']}.")
        text += "\n" + table(FIGURE_HEAD, figure_rows(others(peers)))
    return text


def few_bits(data, table):
    """The table of four_bits.md."""
    options = data["options"]
    command = f"bench/peers/run state --few-bits --steps {options['steps']} --elements {options['elements']}"
    return "\n" + table(ERROR_HEAD, error_rows(data["rows"])) + "\n" + fill(
        f"Measured by `{command} --json bench/results/state.few_bits.json`; commit {data['commit']}.")
