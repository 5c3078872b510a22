#!/usr/bin/env bash
# Tests the program `fusedopt` from outside. Usage: test_program.sh PROGRAM. Prints TAP; exits 1 if a test failed.
set -u

if [ $# -ne 1 ] || [ ! -x "$1" ]; then
    echo "usage: test_program.sh PROGRAM" >&2
    exit 2
fi
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$dir" || exit 2

# json_holds FILE EXPRESSION: whether a Python expression about `rows` is true.
json_holds() {
    python3 -c 'import json, sys
with open(sys.argv[1]) as file:
    rows = json.load(file)["rows"]
sys.exit(not eval("(" + sys.argv[2] + ")"))' "$1" "$2" 2>>err
}

# refused STATUS MESSAGE ARGUMENT...: the exit status, the message on stderr, and no table.
refused() {
    local expected=$1 message=$2
    shift 2
    run "$@"
    [ "$status" -eq "$expected" ] && grep -qF -e "$message" err && [ ! -s out ]
    report $? "fusedopt $*: exit $expected, '$message'"
}

run --help
[ "$status" -eq 0 ] && grep -q 'train' out && grep -q 'bench' out && grep -q 'verify' out
report $? "--help lists the commands"

run --version
[ "$status" -eq 0 ] && grep -qE '^fusedopt [0-9]+\.[0-9]+\.[0-9]+$' out
report $? "--version prints the version"

run info
[ "$status" -eq 0 ] && grep -qE 'instruction sets.*\(chosen\)' out && grep -qE '^cuda' out
report $? "info shows the instruction sets and the devices"
! grep -q 'cuBLAS.* not found' out
report $? "it finds cuBLAS, if it was built with that, and in it all that it calls"
cuda=usable # or absent, or without cuBLAS
grep -q 'matrix product .*cuBLAS' out || cuda=unfit
grep -q '^cuda: none' out && cuda=absent

good=0
for isa in baseline $(grep -E '^instruction sets' out | grep -oE 'avx2|avx512(vbmi)?'); do
    FUSEDOPT_ISA=$isa run info
    [ "$status" -eq 0 ] && grep -q "$isa (chosen)" out || good=1
    FUSEDOPT_ISA=$isa run verify --case 7
    [ "$status" -eq 0 ] || good=1
done
report $good "info shows the instruction set that FUSEDOPT_ISA chose, and it works"
FUSEDOPT_ISA='' run info
[ "$status" -eq 0 ]
report $? "an empty FUSEDOPT_ISA chooses nothing"
FUSEDOPT_ISA=$'sse9\n\e[31m' run train --epochs 1
[ "$status" -ne 0 ] && grep -q "FUSEDOPT_ISA is 'sse9??\[31m', must be avx512vbmi, avx512, avx2 or baseline" err
report $? "any other FUSEDOPT_ISA is refused, by name"

run train --help
[ "$status" -eq 0 ] && grep -qe '--epochs' out && grep -q 'adamw' out
report $? "train --help lists the options and the rules"

refused 2 "usage: fusedopt"
refused 2 "unknown command 'dance'" dance
refused 2 "unrecognized option '--speed'" train --speed
refused 2 "requires an argument" train --epochs
refused 2 "'0' is not an integer from 1" train --epochs 0
refused 2 "'-1' is not an integer from 1" train --epochs -1
refused 2 "'3x' is not an integer from 1" train --seeds 3x
refused 2 "'' is not an integer from 1" train --seeds ""
refused 2 "'99999999999999999999' is not an integer" train --seeds 99999999999999999999
refused 2 "no rule is called 'magic'" train --rule magic
refused 2 "'tpu' is neither cpu nor cuda" train --device tpu
refused 2 "unexpected argument 'now'" train now
refused 2 "unexpected argument 'now'" info now
refused 1 "cannot write absent/results.json" train --json absent/results.json
refused 1 "cannot write $dir: Is a directory" train --json "$dir"
if command -v gnuplot >/dev/null; then
    refused 1 "cannot write absent/losses.svg" train --plot absent/losses.svg
else
    skip "train --plot absent/losses.svg is refused" "no gnuplot"
fi
for command in train bench; do
    refused 2 "'losses.png' does not name a file .svg" $command --plot losses.png
    refused 2 "a file's name is missing before '--plot'" $command --json --plot losses.svg
done
refused 2 "a file's name is missing before '--quick'" verify --json --quick
mkdir nothing
PATH=$dir/nothing run train --plot losses.svg
[ "$status" -eq 1 ] && grep -q 'gnuplot' err && [ ! -s out ] && [ ! -e losses.svg ]
report $? "train --plot without gnuplot is refused before training"

case $cuda in
absent) refused 1 "CUDA" train --device cuda ;;
unfit) refused 1 "built without cuBLAS" train --device cuda ;;
usable) skip "train --device cuda is refused" "this machine has a CUDA device" ;;
esac

if [ -w /dev/full ]; then
    "$program" --help >/dev/full 2>err
    status=$?
    [ "$status" -eq 1 ] && grep -q 'cannot write the output' err
    report $? "output that cannot be written is an error"
    run train --rule sgd --epochs 1 --json /dev/full
    [ "$status" -eq 1 ] && grep -q 'cannot write /dev/full' err && [ -c /dev/full ]
    report $? "a JSON file that cannot be written is an error, and a device stays one"
else
    skip "output that cannot be written is an error" "no /dev/full"
    skip "a JSON file that cannot be written is an error, and a device stays one" "no /dev/full"
fi

# A JSON file is written whole or not at all. as_it_was: whether the folder json holds the old file alone.
mkdir json
echo '{"rows": "of before"}' >json/old.json
cp json/old.json old.json
chmod 640 json/old.json
as_it_was() {
    [ "$(ls json)" = old.json ] && cmp -s old.json json/old.json
}
many=(train --rule sgd --epochs 1 --seeds 20 --json json/old.json)
(ulimit -f 1 && exec "$program" "${many[@]}") >out 2>err # more than the one kilobyte that it may write
status=$?
[ "$status" -eq 1 ] && grep -q 'cannot write json/old.json: ' err && as_it_was
report $? "a JSON file that does not fit leaves the old one as it was"
if command -v cc >/dev/null && printf '%s\n' '#include <signal.h>' 'int fsync(int file);' \
    'int fsync(int file) { return file < 0 ? -1 : raise(SIGTERM); }' | cc -shared -fPIC -o fsync.so -x c - 2>err; then
    ASAN_OPTIONS=verify_asan_link_order=0 LD_PRELOAD=$dir/fsync.so "$program" "${many[@]}" >out 2>err
    status=$?
    [ "$status" -eq 143 ] && as_it_was
    report $? "a signal while a JSON file is written leaves the old one as it was"
else
    skip "a signal while a JSON file is written leaves the old one as it was" "no cc"
fi
ln -s json/old.json link.json
run train --rule sgd --epochs 1 --json link.json
[ "$status" -eq 0 ] && [ -L link.json ] && [ "$(ls json)" = old.json ] && grep -q '"final_loss"' json/old.json &&
    [ "$(stat -c %a json/old.json)" = 640 ]
report $? "a JSON file is replaced behind a symbolic link, and keeps its mode"

run train --rule adam --epochs 2 --json adam.json
[ "$status" -eq 0 ] && grep -qE '^adam +f32 +8\.00 ' out && grep -qE '^adam +q8 +2\.03 ' out
report $? "train prints a row for each format of the state"
run train --rule adam --epochs 2 --seeds 2 --json seeds.json
[ "$status" -eq 0 ] && [ "$(grep -c '^adam ' out)" -eq 2 ] && grep -q -e '+-' out
report $? "train --seeds prints rows with standard errors"
if python3 -c 'import json' 2>/dev/null; then
    json_holds adam.json 'len(rows) == 2 and set(rows[0]) == {"rule", "state_format", "state_bytes_per_param",
        "final_loss", "accuracy", "seed"} and rows[0]["rule"] == "adam" and rows[0]["state_format"] == "f32"
        and rows[0]["state_bytes_per_param"] == 8 and 0 < rows[0]["final_loss"] < 2.3
        and 0.5 < rows[0]["accuracy"] <= 1 and rows[0]["seed"] == 1
        and rows[1]["state_format"] == "q8" and 2 < rows[1]["state_bytes_per_param"] < 2.05'
    report $? "the JSON file has the fields"
    json_holds seeds.json '[row["seed"] for row in rows] == [1, 2, 1, 2]
        and rows[0]["final_loss"] != rows[1]["final_loss"]'
    report $? "the JSON file has a row for each seed"
    cp seeds.json first.json
    run train --rule adam --epochs 2 --seeds 2 --json seeds.json
    cmp -s first.json seeds.json && json_holds adam.json "rows[0] == json.load(open('seeds.json'))['rows'][0]"
    report $? "the same seed gives the same result"
else
    for text in "the JSON file has the fields" "the JSON file has a row for each seed" \
        "the same seed gives the same result"; do
        skip "$text" "no python3 to read it"
    done
fi

# trains DEVICE: with default settings.
trains() {
    run train --device "$1" --json "$1.json"
    report "$status" "train --device $1 with default settings succeeds"
    for rule in sgd momentum rmsprop adam adamw; do
        awk -v rule="$rule" '$1 == rule { $5 >= 95 ? found++ : wrong++ } END { exit !found || wrong }' out
        report $? "$1: $rule reads at least 95 % of the held-out digits, with every format of its state"
    done
}

trains cpu
if [ "$cuda" = usable ]; then
    trains cuda
    mv cuda.json first.json
    run train --device cuda --json cuda.json
    cmp -s first.json cuda.json
    report $? "cuda: the same seed gives the same result"
else
    skip "train --device cuda reads the digits" "no CUDA device with cuBLAS"
fi

if command -v gnuplot >/dev/null; then
    run train --rule sgd --rule adamw --epochs 3 --plot "a 'curve' \$of.svg"
    [ "$status" -eq 0 ] && grep -q '<svg' "a 'curve' \$of.svg" && grep -q 'adamw' "a 'curve' \$of.svg" && [ ! -s err ]
    report $? "train --plot draws an SVG"
    run train --epochs 1 --plot colours.svg
    [ "$(grep -o 'stroke *= *.*rgb([^)]*)' colours.svg | grep -o 'rgb.*' | sort -u | wc -l)" -ge 5 ]
    report $? "train --plot draws each rule in a colour of its own"
else
    skip "train --plot draws an SVG" "no gnuplot"
    skip "train --plot draws each rule in a colour of its own" "no gnuplot"
fi

run bench --help
[ "$status" -eq 0 ] && grep -qe '--shapes' out && grep -q 'resnet50' out
report $? "bench --help lists the options and the sets of shapes"
refused 2 "'magic' is none of sgd" bench --rule magic
refused 2 "'cube' is none of flat" bench --shapes cube
for formats in f32 f32/f32 f32/f32/f32/f32 f64/f32/f32 /f32/f32; do
    refused 2 "'$formats' is not PARAM/GRAD/STATE" bench --formats $formats
done
for params in 1023 2^9 2^10.. 2^12..2^10 2^10,, -1024 1e6 2^99; do
    refused 2 "'$params' is not a list of sizes" bench --params $params
done
refused 2 "'0' is not an integer from 1" bench --repeat 0
refused 2 "'65' is not an integer from 1 to 64" bench --scale 65
refused 2 "'tpu' is neither cpu nor cuda" bench --device tpu
refused 1 "cannot store moments" bench --params 1024 --formats f32/f32/f32 --formats f32/f32/f16
run bench --params 2^40
[ "$status" -eq 1 ] && grep -q 'skipped: it takes [0-9.]* GiB' out && grep -q 'nothing is left' err
report $? "bench leaves out what memory is too small for"
refused 1 "cannot write absent/results.json" bench --json absent/results.json
[ "$cuda" = absent ] && refused 1 "CUDA" bench --device cuda

run bench --quick --repeat 1 --rule sgd --rule adam --params 1024,2^12 --formats f32/f32/f32 \
    --formats bf16/f16/bf16 --json bench.json
[ "$status" -eq 0 ] && [ "$(grep -cE '^(sgd|adam) .* fusedopt ' out)" -eq 8 ] && grep -q '^copy ' out &&
    grep -q '^stream ' out
report $? "bench prints a row for each combination"
run bench --repeat 1 --shapes small --json small.json
report "$status" "bench times ten thousand tensors"
[ "$(wc -L <out)" -le 120 ] && head -n 1 out | grep -q ' copy stream '
report $? "its table has the parts of copy and of stream, within 120 columns"
if python3 -c 'import json' 2>/dev/null; then
    json_holds bench.json '{row["params"] for row in rows} == {1024, 4096}
        and all(row["samples"] == 1 and row["launches"] == 0 and row["tensors"] == 1 and row["gb_per_s"] > 0
                and 0 < row["ns_per_param"] and 0 < row["roof_fraction"] and row["host_us"] > 0 and row["spread"] >= 0
                and row["shape_set"] == "flat" and row["grad_dtype"] in ("f32", "f16") for row in rows)
        and {row["engine"] for row in rows} >= {"fusedopt", "loop"}'
    report $? "the rows of bench have the fields"
    json_holds bench.json 'all(abs(row["ns_per_param"] * row["gb_per_s"] - row["bytes_per_param"]) < 1e-6
            for row in rows)
        and {(row["rule"], row["param_dtype"], row["state_format"]): row["bytes_per_param"] for row in rows}
            == {("sgd", "f32", "none"): 12, ("sgd", "bf16", "none"): 6, ("adam", "f32", "f32"): 28,
                ("adam", "bf16", "bf16"): 14}'
    report $? "bench counts the bytes that a step must move"
    json_holds small.json 'rows[0]["tensors"] == 10000 and 64 <= rows[0]["params"] / 10000 <= 4096
        and "ns_per_tensor" in rows[0]'
    report $? "bench tells what a small tensor costs"
    python3 -c 'import json; file = json.load(open("bench.json"))
assert set(file) == {"machine", "device", "compiler", "versions", "commit", "roofs", "rows"}, set(file)
roofs = iter(file["roofs"])
for row in file["rows"]:
    roof = next(roofs) if row["engine"] == "fusedopt" else roof # of one sample, so that medians are of the same round
    for name, part in ("copy", row["copy_fraction"]), ("stream", row["roof_fraction"]):
        assert abs(part * roof[name + "_gb_per_s"] / row["gb_per_s"] - 1) < 1e-6, row
assert all(roof["copy_gb_per_s"] > 0 and roof["stream_gb_per_s"] > 0 for roof in file["roofs"])' 2>err
    report $? "the JSON file of bench tells of the machine"
else
    for text in "the rows of bench have the fields" "bench counts the bytes that a step must move" \
        "bench tells what a small tensor costs" "the JSON file of bench tells of the machine"; do
        skip "$text" "no python3 to read it"
    done
fi
if command -v gnuplot >/dev/null; then
    run bench --repeat 1 --params 2^10..2^12 --plot bench.svg
    [ "$status" -eq 0 ] && [ ! -s err ] && grep -q 'f32/f32/f32: fusedopt' bench.svg &&
        grep -q 'part of the roof' bench.svg
    report $? "bench --plot draws an SVG"
else
    skip "bench --plot draws an SVG" "no gnuplot"
fi

run verify --help
[ "$status" -eq 0 ] && grep -qe '--self-test' out
report $? "verify --help lists the options"
refused 2 "no rule is called 'momentum'" verify --rule momentum
refused 2 "is not an integer from 0 to" verify --case 99999
refused 2 "'x' is not an integer" verify --seed x
refused 2 "'tpu' is neither cpu nor cuda" verify --device tpu
refused 2 "unexpected argument 'now'" verify now
refused 1 "cannot write absent/results.json" verify --json absent/results.json
[ "$cuda" = absent ] && refused 1 "CUDA" verify --device cuda
run verify --case 1234 --seed 7 --json case.json
[ "$status" -eq 0 ] && [ "$(grep -c ' ok$' out)" -eq 1 ] && [ -s case.json ]
report $? "verify --case checks one case alone"

finish
