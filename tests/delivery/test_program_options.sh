#!/usr/bin/env bash
# Tests how the program `fusedopt` reads its command line, and what it says of itself and of its progress.
# Usage: test_program_options.sh PROGRAM. Prints TAP; exits 1 if a test failed.
set -u
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$dir" || exit 2

# all_refused COMMAND OPTION VALUE...: each value, with exit status 2 and a line that names option and value.
all_refused() {
    local command=$1 option=$2 value good=0
    shift 2
    for value in "$@"; do
        run "$command" "$option" "$value"
        [ "$status" -eq 2 ] && [ ! -s out ] &&
            grep -qF -e "fusedopt $command: $option: '$value' is not " err && continue
        echo "# '$value' was not refused"
        good=1
        break
    done
    report $good "$command refuses every $option that is not one"
}

# refused MESSAGE ARGUMENT...
refused() {
    local message=$1
    shift
    run "$@"
    [ "$status" -eq 2 ] && [ ! -s out ] && grep -qF -e "$message" err
    report $? "fusedopt ${*:1:2}: '$message'"
}

# ---- numbers ----

no_integers=("" " " " 7" "7 " $'\t7' $'7\n' +7 -7 -0 0x7 0x 7x x 7.0 7. 1e3 1,5 2^3 7,7 ٧ 18446744073709551623
    184467440737095516160 99999999999999999999999999999)
all_refused train --epochs "${no_integers[@]}" 0 10001
all_refused train --seeds "${no_integers[@]}" 0 10001
all_refused bench --repeat "${no_integers[@]}" 0 100001
all_refused bench --scale "${no_integers[@]}" 0 65
all_refused verify --case "${no_integers[@]}" 99999
all_refused verify --seed "${no_integers[@]}" 9007199254740993
all_refused state --steps "${no_integers[@]}" 0 99 10000001
all_refused state --elements "${no_integers[@]}" 0 4095 262145
all_refused state --threads "${no_integers[@]}" 0 1025
all_refused state --seed "${no_integers[@]}" 9007199254740993
for option in --beta1 --beta2; do
    all_refused state $option "" " " 1 1.0 -0.1 +0.1 nan inf 0x0 .9, ,.9 .9,,.8 ".9 .8" ".9, .8" 0.9x 0.9,1 e3 . 0.9e
done
all_refused train --lr "" " " " 0.1" "0.1 " +0.1 -0.1 0 0.0 -0 0x1p-3 0x1 inf INFINITY nan 1e 1e+ . e3 .e1 1e400 \
    1e-400 0.1f 0,1 1.2.3 1e1.5 1e10 "1 e-3" 0.1x
all_refused bench --params "" " " , 1024, ,1024 "2^ 10" "2^-18446744073709551606" 2^18446744073709551626 2^ 2^64 2^63 \
    2^41 2^9 2^+10 2^-10 2^0x10 2^10x "2^10 " " 2^10" 02^10 2^10.5 3^10 4^5 2^2^10 2^10^1 1023 +2048 -2048 0x800 1e4 \
    2048.0 18446744073709553664 2^10.. ..2^10 2^12..2^10 2^10...2^12 2^10..2^12..2^14 2^10..2^41 2^10..1024x 2^10-2^12 \
    2^10,,2^12 "2^10, 2^12" "2^10;2^12" 1099511627777

good=0
for value in 1 .5 5. 1e-3 2E-1 1e+0 0.001; do
    run train --rule sgd --epochs 1 --lr "$value"
    [ "$status" -eq 0 ] && [ ! -s err ] || good=1
done
report $good "train takes every decimal number for --lr"
run bench --repeat 1 --rule sgd --formats bf16/bf16/f32 --params 1024,2^11..2^14,5000 --params 2^10
[ "$status" -eq 0 ] && [ "$(awk '$6 == "fusedopt" { print $4 }' out | xargs)" = "1024 2048 8192 5000" ]
report $? "bench --params lists numbers, powers and ranges; none twice"

# ---- nothing is dropped ----

many=$(seq -s , 1024 1088) # 65
refused "--params: more than 64 sizes" bench --params "$many"
refused "--params: more than 64 sizes" bench --params "${many%,*}" --params 4096..65536
refused "--params: more than 64 sizes" bench --params "${many%,*},2^40"
refused "--beta2: more than 16 numbers" state --beta2 "$(seq -s , 0.1 0.05 0.95)"
repeated=()
for i in $(seq 70); do
    repeated+=(--rule sgd --shapes flat --formats bf16/bf16/f32 --params 1024)
done
run bench --repeat 1 "${repeated[@]}"
[ "$status" -eq 0 ] && [ "$(grep -c '^sgd .* fusedopt ' out)" -eq 1 ]
report $? "bench takes what is said seventy times as said once"
for given in "train --epochs 1" "train --seeds 1" "train --lr 1" "bench --repeat 1" "bench --scale 1" \
    "verify --case 1" "verify --seed 1" "verify --device cpu" "state --steps 100" "state --threads 1"; do
    # shellcheck disable=SC2086
    set -- $given
    refused "$2 is given twice" "$1" "$2" "$3" "$2" "$3"
done
run verify --case 0 --rule sgd --rule adam
[ "$status" -eq 0 ] && [ "$(grep -c ' ok$' out)" -eq 1 ]
report $? "verify checks each rule that is chosen, not the last one alone"
run verify --rule adam --case 0
[ "$status" -eq 1 ] && grep -q 'no case is left' err
report $? "verify fails where no case is left"
refused "--self-test writes no JSON" verify --self-test --json faults.json

# ---- the learning rate ----

run train --rule sgd --rule momentum --epochs 2 --json own.json
run train --rule sgd --rule momentum --epochs 2 --json high.json --lr 0.2
run train --rule sgd --rule momentum --epochs 2 --json low.json --lr 1e-9
if command -v python3 >/dev/null; then
    python3 -c 'import json
own, high, low = ([row["final_loss"] for row in json.load(open(name + ".json"))["rows"]]
                  for name in ("own", "high", "low"))
assert own[0] == high[0] and own[1] != high[1], (own, high) # that of sgd is 0.2
assert all(2 < loss < 3 for loss in low), low' 2>err
    report $? "train --lr sets the learning rate of every rule"
    run train --rule sgd --epochs 2 --lr 1e9 --json diverged.json
    [ "$status" -eq 0 ] && python3 -c 'import json
assert json.load(open("diverged.json"))["rows"][0]["final_loss"] is None' 2>>err
    report $? "train writes JSON of a training that diverged"
fi

# ---- help ----

run --help
mv out help
good=0
for form in help -h "help help" "help --help" "--help help"; do
    # shellcheck disable=SC2086
    run $form
    [ "$status" -eq 0 ] && cmp -s out help && [ ! -s err ] || good=1
done
report $good "help, -h and --help are the same"

# Prints the lines of a text whose paragraph goes on though the next word would have had room.
broken_early() {
    awk 'held != "" && $0 != "" && length(held " " $1) <= 108 && $0 !~ /^ *-/ { print held }
        { held = $0 ~ /^usage:|:$|^ / ? "" : $0 }' "$1"
}
for command in bench info state train verify; do
    run $command --help
    mv out help
    good=0
    for form in "help $command" "$command -h"; do
        # shellcheck disable=SC2086
        run $form
        [ "$status" -eq 0 ] && cmp -s out help && [ ! -s err ] || good=1
    done
    report $good "help $command, $command -h and $command --help are the same"
    cp help out
    head -n 1 help | grep -q "^usage: fusedopt $command" && [ "$(grep -c '^  -h, --help ' help)" -eq 1 ] &&
        [ "$(wc -L <help)" -le 116 ] && [ -z "$(broken_early help | tee -a err)" ] &&
        ! grep '^ ' help | grep -qvE '^  (-h, )?--[a-z0-9-]+( [^ ]+)?  +[^ ]|^ {22}[^ ]'
    report $? "the help of $command is regular, and no line breaks before it must"
done
refused "unknown command 'dance'" help dance
refused "unexpected argument 'now'" help train now
refused "unexpected argument 'now'" --version now
refused "invalid option -- 'x'" train -x

# ---- info ----

run info
for line in 'commit +(unknown|[0-9a-f]{7,}(-dirty)?)' 'OpenMP +(yes|no)' 'jansson +(yes|no)' \
    'OpenBLAS +(no|OpenBLAS [0-9.]+ .*)'; do
    grep -qxE "  $line" out
    report $? "info has a line $line"
done
if grep -q '^  CUDA  *no$' out; then
    ! grep -q 'CUDA kernels' out
else
    grep -qE '^  CUDA +yes; (no CUDA driver|CUDA driver [0-9]+\.[0-9]+), runtime [0-9]+\.[0-9]+$' out &&
        grep -qE '^  CUDA kernels for +[0-9a-z -]+$' out
fi
report $? "info tells what CUDA it was built with, if any"

# ---- progress ----

run train --rule sgd --epochs 1
[ "$status" -eq 0 ] && [ ! -s err ]
report $? "no progress is written where stderr is no terminal"
for arguments in "train --rule sgd --epochs 600" "verify --quick --rule sgd" \
    "bench --rule sgd --params 2^16..2^20 --repeat 11" "state --steps 1000 --beta2 0.9,0.99"; do
    if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
        script -qec "'$program' $arguments" /dev/null </dev/null >out 2>err
        status=$?
        tr '\r' '\n' <out | grep -qE '; about [0-9]+ (s|min|h) left'
        report $? "on a terminal, $arguments tells the time that is left"
    else
        skip "on a terminal, $arguments tells the time that is left" "no program script, or no terminal to be had"
    fi
done

finish
