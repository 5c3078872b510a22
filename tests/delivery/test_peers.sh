#!/usr/bin/env bash
# bench/peers, under the first python3 that has PyTorch, or is there. The environment variable PYTHON names another one.
# Arguments: the project's folder, the shared library, the program or "none". Prints TAP.
set -u
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
project=$1 shared=$2 program=$3
for module in torch sys; do
    for python in ${PYTHON:-python3 /usr/bin/python3}; do
        command -v "$python" >/dev/null && "$python" -c "import $module" 2>/dev/null && break 2
    done
done
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    skip "bench/peers" "no Python 3.10 or later"
    finish
fi
export FUSEDOPT_LIBRARY=$shared PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$project/bench/peers:$project/python
cd "$dir" || exit 2

# compare MODULE ARGUMENT...: runs compare.py, to which that module is missing.
compare() {
    "$python" -c 'import runpy, sys
sys.modules[sys.argv[1]] = None
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")' "$@" >out 2>&1
}

"$python" -c '
import json, os, signal, sys, time
import record

cases = [("adam", "f32", "f32", "flat", [2, 3]),
         ("sgd", "bf16", "q8", "flat", [4]), ("adamw", "f32", "f32", "flat", [5])]

def measure(case, seconds):
    seen.append(json.load(open("found.json")) if os.path.exists("found.json") else None)
    if case[0] == "sgd":
        raise ValueError("too hot")
    return [case[0]], seconds

seen, found = [], {"device": "none"}
record.go_through(cases, measure, found, "found.json", 100, True)
assert [s and s["rows"] for s in seen] == [None, ["adam"], ["adam"]], seen
final = json.load(open("found.json"))
assert final == found and final["rows"] == ["adam", "adamw"] and len(final["roofs"]) == 2, final
assert final["failed"] == [{"rule": "sgd", "param_dtype": "bf16", "state_format": "q8", "shape_set": "flat",
                            "params": 4, "error": "ValueError: too hot"}], final
assert final["left_out"] == [] and final["device"] == "none"

def slow(case, seconds):
    time.sleep(0.2)
    return measure(case, seconds)

record.go_through(cases, slow, found, "found.json", 0.1, True)
assert found["rows"] == ["adam"] and [late["rule"] for late in found["left_out"]] == ["sgd", "adamw"], found
record.go_through(cases, slow, found, None, 0.1, False)
assert found["rows"] == ["adam", "adamw"] and found["left_out"] == [], found
' >out 2>&1
report $? "a case that fails is recorded, and what was measured is kept after each"

"$python" -c '
import os
import record

os.mkdir("folder")
os.symlink("folder/file.json", "link.json")
record.write("link.json", [1])
record.write("link.json", [2])
assert os.path.islink("link.json") and open("folder/file.json").read() == "[\n  2\n]\n"

def ends(file):
    raise KeyboardInterrupt

os.fsync = ends
try:
    record.write("link.json", [3])
    raise SystemExit("not interrupted")
except KeyboardInterrupt:
    pass
assert os.listdir("folder") == ["file.json"] and open("link.json").read() == "[\n  2\n]\n"
' >out 2>&1
report $? "its JSON file is written whole or not at all"

compare numpy "$project/bench/peers/state.py" --quick
[ $? -eq 3 ] && [ "$(wc -l <out)" -eq 1 ] && grep -q '^bench/peers/state.py needs NumPy' out
report $? "without NumPy it says so, and exits with status 3"

# Two programs that share no code but the library's: gradients, exact Adam and figures of both must be the same.
for numeric in "$python" python3 /usr/bin/python3 none; do
    command -v "$numeric" >/dev/null && "$numeric" -c 'import numpy' 2>/dev/null && break
done
if [ "$numeric" = none ] || [ "$program" = none ]; then
    skip "fusedopt state and bench/peers/state.py find the same" "no NumPy, or no program"
elif nm -D "$shared" | grep -qE '__asan|__ubsan|__tsan'; then
    skip "fusedopt state and bench/peers/state.py find the same" "the library is instrumented"
else
    "$program" state --steps 300 --elements 4096 --beta2 0.99 --seed 5 --json ours.json >out 2>&1 &&
        "$numeric" "$project/bench/peers/state.py" --steps 300 --elements 4096 --beta2 0.99 --seed 5 \
            --json theirs.json >>out 2>&1 && "$numeric" -c '
import json
ours, theirs = (json.load(open(name + ".json"))["rows"] for name in ("ours", "theirs"))
by_formats = {(row["gradients"], row["first_moment"], row["second_moment"]): row for row in ours}
formats = set()
for row in theirs:
    name, form = (row["engine"].split() + [""])[:2]
    if name == "fusedopt":
        same = by_formats[row["gradients"], form, form]
        formats.add(form)
        for key in row.keys() - {"engine"}:
            # the way after a stop is added up in single precision, errors of 1e-7 are those of the last bits
            bound = 1e-5 if key == "moved" else 1e-7
            assert row[key] == same[key] or abs(row[key] / same[key] - 1) < bound, (key, row, same)
assert formats == {"f32", "bf16", "q8"}, formats
for kind in ("dense", "embed", "spike", "norm", "decay"): # what others do is not exact, and not nothing
    others = {row["engine"]: row["error"] for row in theirs if row["gradients"] == kind}
    assert len(others) >= 7 and all(error is None or error > 1e-3 for error in list(others.values())[1:]), others
' >>out 2>&1
    report $? "fusedopt state and bench/peers/state.py find the same"
fi

if [ "$numeric" = none ]; then
    skip "what is stored in few bits is right in the mean" "no NumPy"
else
    "$numeric" -c '
import few_bits
import numpy as np

random, draws = np.random.default_rng(7), 4000
x = random.standard_normal(few_bits.BLOCK).astype(np.float32)
step, stored = np.abs(x).max() / 7.5, np.array([few_bits.dithered(4)(x, random) for _ in range(draws)])
assert np.abs(stored - x).max() < 0.51 * step and np.abs(stored - x).max() > 0.49 * step
assert np.abs(stored.mean(axis=0) - x).max() < 5 * step * (12 * draws) ** -0.5 + 0.005 * step # the scale is rounded up

v = np.append(10 ** random.uniform(-1.6, 0, few_bits.BLOCK - 2), (1e-9, 0)).astype(np.float32)
stored = np.array([few_bits.falling(4, 0.4)(v, random) for _ in range(draws)])
assert np.abs(stored.mean(axis=0)[:-2] / v[:-2] - 1).max() < 5 * 0.14 * draws**-0.5 # two values are 0.28 of one apart
assert (stored[:, -2] > 0).all() and (stored[:, -1] == 0).all() and len(np.unique(stored)) <= 16
' >out 2>&1
    report $? "what is stored in few bits is right in the mean"
fi

compare torch "$project/bench/peers/compare.py" --quick
[ $? -eq 3 ] && [ "$(wc -l <out)" -eq 1 ] && grep -q '^bench/peers needs PyTorch' out
report $? "without PyTorch it says so, and exits with status 3"

if ! "$python" -c 'import torch' 2>/dev/null; then
    skip "a comparison with PyTorch, without bitsandbytes" "no PyTorch"
elif nm -D "$shared" | grep -qE '__asan|__ubsan|__tsan'; then
    skip "a comparison with PyTorch, without bitsandbytes" "the library is instrumented"
else
    compare bitsandbytes "$project/bench/peers/compare.py" --quick --repeat 3 --seconds 60 --json torch.json
    [ $? -eq 0 ] && grep -q '^without bitsandbytes: ' out && "$python" -c '
import json
found = json.load(open("torch.json"))
assert found["versions"]["bitsandbytes"] == "none" and found["failed"] == found["left_out"] == []
assert {row["engine"] for row in found["rows"]} == {"fusedopt", "torch for-loop", "torch foreach", "torch fused"}
assert len(found["roofs"]) == 5 and all(0 < row["copy_fraction"] and 0 < row["roof_fraction"] for row in found["rows"])
' >>out 2>&1
    report $? "a comparison with PyTorch, without bitsandbytes"
fi

finish
