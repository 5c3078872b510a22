#!/usr/bin/env bash
# Tests the programs of bench/gpu on the emulator: what they compute, not how fast. Usage:
# test_tournament_emulated.sh EXACT TOURNAMENT. Prints TAP.
set -u
exact=$1 tournament=$2
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"

run() {
    "$@" >"$dir/out" 2>"$dir/err"
    status=$?
}

# lines NUMBER PATTERN
lines() { [ "$(grep -cE "$2" "$dir/out")" -eq "$1" ]; }

run "$exact" 14
[ "$status" -eq 0 ] && lines 9 ': 0 wrong of [1-9][0-9]*$' && lines 9 .
report $? "roots, reciprocals and quotients are right"
run "$exact" 21
[ "$status" -eq 2 ] && grep -q '^usage' "$dir/err"
report $? "exact refuses to do almost nothing"

# Enough for tensors with whole tiles in the set that has several.
run "$tournament" 14336 1
[ "$status" -eq 0 ] && lines 5 ': copy ' && lines 5 ' of copy .* reference$' && lines 12 ' of copy .* same bits$'
report $? "every variant has the bits of the library's kernel, and is timed"

run "$tournament" 7168 0 f32/f32/f32:chunks bf16/bf16/q8:bins-20-warps
[ "$status" -eq 0 ] && lines 17 '^(bf16|f32)/(bf16|f32)/(bf16|f32|q8):[a-z0-9-]+ ' && lines 15 ' regs ' &&
    lines 2 '^(f32/f32/f32:chunks|bf16/bf16/q8:bins-20-warps) left out$'
report $? "for a profiler each is launched once, without the exceptions"
run "$tournament" 7000
[ "$status" -eq 2 ] && grep -q '^usage' "$dir/err"
report $? "too few elements are refused"

finish
