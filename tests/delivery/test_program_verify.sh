#!/usr/bin/env bash
# Tests `fusedopt verify` over many cases. Usage: test_program_verify.sh PROGRAM. Prints TAP; exits 1 if a test failed.
set -u
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$dir" || exit 2

run verify --quick --json verify.json
[ "$status" -eq 0 ] && tail -n 1 out | grep -q ': 0 wrong; at most' && ! grep -q WRONG out
report $? "verify finds nothing wrong"
for threads in 1 3; do
    OMP_NUM_THREADS=$threads "$program" verify --quick --rule sgd --json "threads$threads.json" >"threads$threads" 2>err
    status=$?
    [ "$status" -eq 0 ] || break
done
cmp -s threads1 threads3 && cmp -s threads1.json threads3.json && [ "$(wc -l <threads1)" -gt 10 ]
report $? "verify prints and writes the same with any number of threads"
run verify --self-test
[ "$status" -eq 0 ] && grep -qE '^([0-9]+) faults planted, \1 found$' out
report $? "verify finds every fault that it plants"
if command -v python3 >/dev/null; then
    python3 -c 'import json
rows = json.load(open("verify.json"))["rows"]
assert len(rows) > 200 and {row["rule"] for row in rows} >= {"sgd", "rmsprop", "adam", "adamw"}
assert len({(row["param_dtype"], row["grad_dtype"], row["state_format"]) for row in rows
            if row["state_format"] != "none"}) >= 27
assert {row["tensors"] for row in rows} == {49, 10009}
assert len({row["variant"] for row in rows}) >= 160
for row in rows:
    assert row["elements"] > 100000 and row["differing_bits"] == 0 and 0 <= row["worst_ulp"] <= 4, row' 2>err
    report $? "verify --quick covers all variants and all formats"
else
    skip "verify --quick covers all variants and all formats" "no python3 to read it"
fi

finish
