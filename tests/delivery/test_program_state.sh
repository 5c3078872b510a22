#!/usr/bin/env bash
# Tests `fusedopt state`. Usage: test_program_state.sh PROGRAM. Prints TAP; exits 1 if a test failed.
set -u
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$dir" || exit 2

run state --quick --json state.json
kinds="dense embed spike norm decay stop"
[ "$status" -eq 0 ] && [ ! -s err ] && [ "$(wc -L <out)" -le 120 ] && ! grep -q nan out &&
    [ "$(awk '$3 == "0.999" { print $1 }' out | uniq | xargs)" = "$kinds" ]
report $? "state --quick prints the rows of each kind of gradients"
grep -q 'Over 4096 elements and every 10th of 2000 steps, after the first 200;' out
report $? "it tells what was measured"

run state --quick --steps 300
mv out short
for other in "--threads 1" "--threads 3" "--seed 1 --beta1 0.9 --beta2 0.999" "--elements 4096"; do
    # shellcheck disable=SC2086
    run state --quick --steps 300 $other
    [ "$status" -eq 0 ] && cmp -s short out
    report $? "state $other prints the same"
done
good=0
for isa in baseline $("$program" info | grep -E '^  instruction sets' | grep -oE 'avx2|avx512(vbmi)?'); do
    FUSEDOPT_ISA=$isa run state --quick --steps 300
    [ "$status" -eq 0 ] && cmp -s short out || good=1
done
report $good "and so does every instruction set"
run state --quick --steps 300 --seed 2
[ "$status" -eq 0 ] && ! cmp -s short out
report $? "another seed gives other figures"
run state --steps 100 --elements 4100 --beta1 0.9,0,0.9 --beta2 0.5 --beta2 0.99,0.5 --json betas.json
[ "$status" -eq 0 ] && [ "$(awk '$1 == "norm" { print $2, $3 }' out | uniq | xargs)" = "0.9 0.5 0.9 0.99 0 0.5 0 0.99" ]
report $? "each of --beta1 is combined with each of --beta2, none twice"

run state --quick --json absent/state.json
[ "$status" -eq 1 ] && [ ! -s out ] && grep -q 'cannot write absent/state.json' err
report $? "a JSON file that cannot be written is refused before the work"

if command -v python3 >/dev/null; then
    python3 - 2>err <<'END'
import json
file = json.load(open("state.json"))
assert set(file) == {"machine", "device", "compiler", "versions", "commit", "options", "rows"}, set(file)
assert file["options"] == {"steps": 2000, "elements": 4096, "seed": 1, "measured_every": 10, "measured_after": 200}
rows = file["rows"]
common = {"gradients", "beta1", "beta2", "first_moment", "second_moment", "state_bytes_per_param"}
for row in rows:
    stop = row["gradients"] == "stop"
    figures = {"moved"} if stop else {"error", "gain", "second_moment_by_exact", "worst_update"}
    assert set(row) == common | figures, row
kinds = list(dict.fromkeys(row["gradients"] for row in rows))
assert kinds == ["dense", "embed", "spike", "norm", "decay", "stop"], kinds
of = {}
for row in rows:
    of.setdefault((row["first_moment"], row["second_moment"]), {})[row["gradients"]] = row
assert len(rows) == len(of) * len(kinds)
assert {("f32", "f32"), ("bf16", "bf16"), ("q8", "q8"), ("q8", "bf16"), ("bf16", "q8")} <= set(of), set(of)
for formats, size in (("f32", 8), ("bf16", 4), ("q8", 2.03125)):
    assert all(row["state_bytes_per_param"] == size for row in of[formats, formats].values())
def near(row, name, value, part):
    assert abs(row[name] / value - 1) < part, (name, row)
for kind, row in of["f32", "f32"].items():
    if kind == "stop":
        near(row, "moved", 1, 1e-4)
        near(of["bf16", "bf16"][kind], "moved", 1, 0.05)
        continue
    assert 1e-8 < row["error"] < 1e-6, row
    for name in ("gain", "worst_update", "second_moment_by_exact"):
        near(row, name, 1, 1e-5)
    # bf16 rounds v, an average of 1 / (1 - beta2) steps, by up to 2^-8 a step, and without a bias.
    row = of["bf16", "bf16"][kind]
    assert 0.003 < row["error"] < 0.1, row
    near(row, "gain", 1, 0.01)
    near(row, "second_moment_by_exact", 1, 0.05 if kind == "norm" else 0.01) # there few elements are most of the sum
    assert of["q8", "q8"][kind]["error"] > 2 * row["error"], kind
rows = json.load(open("betas.json"))["rows"]
assert {(row["beta1"], row["beta2"]) for row in rows} == {(a, b) for a in (0, 0.9) for b in (0.5, 0.99)}
assert all(row.get("error", 0) < 1e-6 for row in rows if row["first_moment"] == "f32")
END
    report $? "the JSON file has the fields, and figures that single precision and bf16 must have"
else
    skip "the JSON file has the fields, and figures that single precision and bf16 must have" "no python3 to read it"
fi

if command -v gnuplot >/dev/null; then
    run state --quick --steps 300 --plot state.svg
    good=$status
    commit=$("$program" info | sed -n 's/^  commit *//p')
    for text in dense stop bf16/q8 'RMS error' "commit $commit"; do
        grep -qF "$text" state.svg || { echo "no $text" >>err; good=1; }
    done
    [ "$good" -eq 0 ] && [ ! -s err ]
    report $? "state --plot draws an SVG with kinds, formats and commit"
    run state --steps 100 --elements 4096 --beta2 0.99,0.999 --plot betas.svg
    [ "$status" -eq 0 ] && grep -qF 'norm 0.9 0.99<' betas.svg
    report $? "where betas differ it names them"
else
    skip "state --plot draws an SVG with kinds, formats and commit" "no gnuplot"
    skip "where betas differ it names them" "no gnuplot"
fi

finish
