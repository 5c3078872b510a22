#!/usr/bin/env bash
# Tests what the program does with CUDA, on the emulator. Usage: test_program_emulated.sh PROGRAM. Prints TAP.
set -u
program=$1
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"

run() {
    "$program" "$@" >"$dir/out" 2>"$dir/err"
    status=$?
}

run info
[ "$status" -eq 0 ] && grep -q '^cuda 0: ' "$dir/out"
report $? "info shows the device"

for number in 0 1019 2010 3020 4231; do
    run verify --device cuda --case $number
    [ "$status" -eq 0 ] && [ "$(grep -c ' 0 .* ok$' "$dir/out")" -eq 1 ]
    report $? "verify --device cuda --case $number finds nothing wrong"
done
run verify --device cuda --self-test --case 4231
[ "$status" -eq 0 ] && grep -qE '^([0-9]+) faults planted, \1 found$' "$dir/out"
report $? "verify --device cuda finds every fault that it plants"

run bench --device cuda --repeat 1 --params 1024 --rule sgd --rule momentum --rule rmsprop --rule adam
[ "$status" -eq 0 ] && [ "$(grep -cE ' (fusedopt|loop) ' "$dir/out")" -eq 8 ]
report $? "bench --device cuda times the step and the loop"
awk '$6 == "fusedopt" && $(NF) == 2 { ours++ }
     $6 == "loop" && $(NF) == 1 { loops++ }
     END { exit ours != 4 || loops != 4 }' "$dir/out"
report $? "bench --device cuda counts the kernels of a step: two, and one of the loop"

finish
