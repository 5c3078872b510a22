#!/usr/bin/env bash
# Rehearses bench/gpu/run, all of its steps, in a copy of what they need: with programs on the emulator, and stand-ins
# for a GPU machine's tools. Arguments: the project's folder; program_emulated, exact_emulated, tournament_emulated, a
# device test on the emulator. Prints TAP.
# shellcheck disable=SC2016,SC2317 # scripts that run later, functions that expect calls
set -u
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
project=$1 program=$2 exact=$3 tournament=$4 device_test=$5
if ! command -v python3 >/dev/null; then
    skip "a rehearsal of bench/gpu/run" "no python3"
    finish
fi
tree=$dir/tree tools=$dir/tools

expect() { # TEXT COMMAND...
    "${@:2}" >"$dir/said" 2>&1
    local status=$?
    { echo "${*:2}"; cat "$dir/said" "$dir/printed" 2>/dev/null; } | tail -n 80 >"$dir/log"
    report $status "$1"
}

# ---- a copy of the project, and what gather would bring along ----

mkdir -p "$tree"/{bench,tests,.gpu/bin,.gpu/site} "$tools"
cp -r "$project"/bench/{gpu,peers,results} "$tree/bench"
cp -r "$project"/{.ci,python,README.md} "$tree"
echo 123456789abc >"$tree/.gpu/commit"
ln -s "$tournament" "$tree/.gpu/bin/fusedopt_tournament"
ln -s "$device_test" "$tree/.gpu/bin/test_device_rehearsed_gpu"
echo "raise ModuleNotFoundError(\"No module named 'torch'\")" >"$tree/.gpu/site/torch.py"

# A library with three kernels in it: as much of a cubin as kernels.py reads. A table that knows them.
python3 - "$dir/libfusedopt.so" <<'END'
import struct, sys
codes = {"_Z11step_tablesI10adam_plainEv1am": b"one", "_Z11step_tablesI14adam_quantizedEv1am": b"two",
         "begin_step": b"three"}
names, body, heads = b"\0.shstrtab\0", b"", [struct.pack("<IIQQQQIIQQ", *[0] * 10)]
for name, code in codes.items():
    heads.append(struct.pack("<IIQQQQIIQQ", len(names), 1, 6, 0, 64 + len(body), len(code), 0, 0, 1, 0))
    names, body = names + b".text." + name.encode() + b"\0", body + code
heads.append(struct.pack("<IIQQQQIIQQ", 1, 3, 0, 0, 64 + len(body), len(names), 0, 0, 1, 0))
head = b"\x7fELF\2\1\1A\10" + bytes(7)
head += struct.pack("<HHIQQQI", 2, 190, 1, 0, 0, 64 + len(body + names), 0x6005a04)
head += struct.pack("<HHHHHH", 64, 0, 0, 64, len(heads), len(heads) - 1)
open(sys.argv[1], "wb").write(b"host code" + head + body + names + b"".join(heads))
END
python3 -B "$tree/bench/gpu/kernels.py" "$dir/libfusedopt.so" >"$tree/.gpu/kernels.txt"
{
    echo "# nvcc V13.0.99"
    awk '{ print $1, 80, 0, 0, 0, $2 }' "$tree/.gpu/kernels.txt"
} >"$tree/tests/registers.txt"

# ---- stand-ins for tools ----

tool() { # NAME: its text comes from the standard input
    { echo "#!/usr/bin/env bash"; cat; } >"$tools/$1"
    chmod +x "$tools/$1"
}
tool cmake <<END
[ "\${STAND_IN:-}" != bad ] || { echo "error: cmake fails"; exit 1; }
[ "\$1" != --build ] || { echo built; exit 0; }
mkdir -p build/gpu && cd build/gpu && ln -sf "$dir/libfusedopt.so" . && ln -sf "$tools/program" fusedopt &&
    ln -sf "$exact" fusedopt_exact && ln -sf "$tournament" fusedopt_tournament
END
tool nvcc <<'END'
printf 'nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 13.0, V13.0.99\nBuild cuda_13.0\n'
END
tool nvidia-smi <<'END'
if [[ "$*" != *" -l 1"* ]]; then
    echo "NVIDIA Stand-in, 580.1, 81559 MiB, 345 MHz, 2619 MHz, 1980 MHz, 2619 MHz, 700.00 W, Enabled"
    exit
fi
while echo "1755, 2619, 412.50, 51" && echo >>"$CLOCK_READINGS" && sleep 0.1; do :; done
END
# The program; its benchmarks take as long as two readings of the clocks, so that one surely falls into each.
tool program <<END
readings() { wc -l <"\$CLOCK_READINGS"; }
last=\$((\$(readings) + 2)) tries=200
[ "\$1" != bench ] || while [ "\$(readings)" -lt "\$last" ] && [ \$((tries -= 1)) -gt 0 ]; do sleep 0.05; done
exec "$program" "\$@"
END
# Refuses one metric's name; then profiles the three launches that it is told of, of more or fewer.
tool ncu <<'END'
echo "$*" >>"$NCU_ARGUMENTS"
[ "${STAND_IN:-}" != bad ] || { echo "==ERROR== ERR_NVGPUCTRPERM"; exit 1; }
while [[ $1 == -* ]]; do
    case $1 in
        --csv) shift; continue;;
        --metrics) metrics=$2;;
        --log-file) file=$2;;
    esac
    shift 2
done
if [[ $metrics == *sm__warps_active* ]]; then
    echo "==ERROR== Failed to find metric sm__warps_active.avg.pct_of_peak_sustained_active" >"$file"
    exit 1
fi
echo "==PROF== Connected to process 1" >"$file"
"$@" || exit
{
    echo "\"ID\",\"Process ID\",\"Kernel Name\",\"${metrics//,/\",\"}\""
    echo "\"\",\"\",\"\",\"${metrics//[^,]/}\""
    for id in 0 1 2; do
        counts=$(sed 's/[^,]*/"1,234.5"/g' <<<"$metrics")
        echo "\"$id\",\"7\",\"void step_tables<adam_plain>(fopt_i_cuda_tables, int)\",$counts"
    done
} >>"$file"
END
tool compute-sanitizer <<'END'
echo "========= COMPUTE-SANITIZER"
[ "${STAND_IN:-}" != bad ] || exec sleep 1000
[ "$2" != racecheck ] || { echo "========= ERROR SUMMARY: 1 error"; exit 9; }
shift 4
"$@" && echo "========= ERROR SUMMARY: 0 errors"
END

run() { # RESULTS STEP...
    : >"$1.clocks"
    PATH=$tools:$PATH OUT=$1 NCU_ARGUMENTS=$1.ncu CLOCK_READINGS=$1.clocks \
        GPU_SHIFT=20 GPU_REPEAT=1 GPU_SHAPES=flat GPU_VERIFY="--case 3280" \
        "$tree/bench/gpu/run" "${@:2}" >"$dir/printed" 2>&1
}
ended() { grep -qE "^== end $1: status $2, [0-9]+ s" "$out/log.txt"; } # NAME STATUS
printed() { grep -qE -- "$1" "$dir/printed"; }

# ---- every step, as on a GPU ----

out=$dir/all
expect "all steps are run" run "$out"
for name in commit date card nvcc build tournament-large tournament-small kernels kernels-as-brought exact verify \
    bench-formats bench-shapes bench-rules counters-2 test_device_rehearsed_gpu memcheck-0 initcheck-0 synccheck-0; do
    expect "$name ends well" ended "$name" 0
done
expect "training without cuBLAS fails, and says so" printed "^train: status [1-9].* cuBLAS"
expect "peers without PyTorch fail, and say so" printed "^peers: status [1-9], .*[Tt]orch"
expect "an unknown counter is found" ended counters-1 1
expect "and not asked for again" [ "$(grep -c sm__warps_active "$out.ncu") $(grep -c dram__bytes "$out.ncu")" = "1 2" ]
expect "a sanitizer's finding is counted" printed "sanitizers: 3 clean, 1 not clean"
expect "the device tests are counted" printed "tests: [1-9][0-9]* ok, 0 not ok"
expect "the clocks are seen" printed "^  bench-formats: SM 1755-1755 MHz, memory 2619-2619 MHz, 412-412 W, 51-51 C"
expect "the tournament is shown with its counters" printed "of copy, .* regs .*dram 1234 issue 1234"
expect "wrong roots and quotients are counted" printed "^  exact: 0 wrong of [1-9]"
expect "speed is shown" printed "^adam bf16/bf16/q8 flat 8192: "
expect "the summary has at most sixty lines" [ "$(sed '1,/^-- machine/d' "$dir/printed" | wc -l)" -lt 60 ]
expect "and results are at most eight files" [ "$(find "$out" -type f | wc -l)" -le 8 ]

# ---- results of them ----

page=$tree/bench/results/rehearsed.md
row() { grep -qE -- "$1" "$page"; }
expect "results are adopted" python3 -B "$tree/bench/results/adopt" "$out" rehearsed
expect "and rendered" python3 -B "$tree/bench/results/render.py" --check
expect "the page has the speed of formats" row '^\| adam bf16/bf16/q8 \| 8,192 \| 1 \| fusedopt '
expect "and of rules" row '^\| rmsprop f32/f32/f32 .*\| 8,192 \| 1 \| fusedopt '
expect "the checks" row '^\| fusedopt verify \| 0 of 162,948 differ, cases: 1, '
expect "that of roots and quotients too" row '^\| fusedopt_exact \| 0 wrong of [1-9]'
expect "the tournament" row '^\| bf16/bf16/q8 landed \| 8,192 '
expect "the counters" row '/q8 landed \| 0\.000 \| 0\.0 \| 1234 % '
expect "and the clocks" row '^- bench-formats: SM 1755-1755 MHz'
expect "README.md has them too" grep -q 'bench/results/rehearsed.md' "$tree/README.md"
expect "no row of Adam is old" bash -c '! grep -E "adam.*\*old\*" "$1"' none "$page"

sed -i '/^step_tables<adam_plain>/s/[^ ]*$/0123456789ab/' "$tree/tests/registers.txt"
stale() { ! python3 -B "$tree/bench/results/render.py" --check; }
expect "a kernel that changes makes pages stale" stale
python3 -B "$tree/bench/results/render.py"
expect "its results are old then" row '^\| adam f32/f32/f32 \*old\* '
expect "in the tournament too" row '^\| f32/f32/f32 landed \*old\* '
expect "and the checks" row '^\| fusedopt verify \*old\* '
expect "and in README.md" grep -q '^| adam f32/f32/f32 \*old\* ' "$tree/README.md"
expect "the page names the kernel" row '^\*old\*: kernels that have changed since: `step_tables<adam_plain>`'
expect "those of other kernels are not" row '^\| adam bf16/bf16/q8 \| 8,192 '

# ---- with PyTorch; then where all goes wrong ----

peers=$(find "$project/bench/results" -name '*.peers.json' ! -name 'state.*' -print -quit)
cat >"$tree/bench/peers/compare.py" <<END
import shutil, sys
assert sys.argv[1:4] == ["--device", "cuda", "--seconds"] and int(sys.argv[4]) >= 20 and sys.argv[5] == "--json"
shutil.copy("$peers", sys.argv[6])
print("failed: adamw bf16")
sys.exit(1)
END
out=$dir/peers
expect "peers are compared" run "$out" peers
expect "one that fails is told" printed "^! peers: status 1, .*failed: adamw bf16"
expect "and shown" printed "^adam f32/f32 flat 1048576: .* GB/s, torch for-loop [0-9.]+, torch foreach"
cp "$out/peers.json" "$dir/all"
python3 -B "$tree/bench/results/adopt" "$dir/all" rehearsed
expect "their page has them" row '^\| adam f32/f32/f32 \*old\* \| 1,048,576 \| torch fused '
expect "and they are old with our kernels" row '^\| torch fused \*old\* '

# ---- steps alone ----

out=$dir/all
cp "$out/log.txt" "$dir/log.before"
run "$out" tornament
expect "a step that there is not is refused" [ "$?" -eq 2 ]
expect "and changes nothing" cmp "$out/log.txt" "$dir/log.before"
expect "a step alone, with what was built" run "$out" right
expect "keeps the results of the others" grep -q '^== step tournament-large ' "$out/log.txt"
expect "and its own are added" [ "$(grep -c '^== step exact ' "$out/log.txt")" -eq 2 ]

# ---- what fails and hangs ----

rm "$tree/.gpu/bin/fusedopt_tournament"
cat >"$tree/.gpu/bin/fusedopt_tournament" <<'END'
#!/bin/sh
[ "$2" -gt 0 ] || exit 0
echo 'f32/f32/f32: bad hung'
echo 'f32/f32/f32 8192 elements, 28.00 bytes each, 3 rounds: copy 2000 GB/s'
echo '  landed           1.0000 ms (0.9000-1.1000)  1900 GB/s 0.950 of copy   80 regs  8 warps/SM  reference'
echo '  other            1.0000 ms (0.9000-1.1000)  1900 GB/s 0.950 of copy   80 regs 24 warps/SM  DIFFERENT BITS (param)'
echo '  bad            HUNG'
exit 1
END
chmod +x "$tree/.gpu/bin/fusedopt_tournament"
ln -s "$program" "$tree/.gpu/bin/fusedopt"
out=$dir/bad
run_badly() { STAND_IN=bad GPU_SECONDS=25 run "$@"; }
expect "tools that fail and hang" run_badly "$out" build tournament right counters sanitizers
expect "a build that fails" ended build 1
expect "leaves the programs that were brought" ended verify 0
expect "a kernel that hangs is named" printed '^! f32/f32/f32: bad hung'
expect "shown" printed '^  bad +HUNG'
expect "and not profiled" grep -q '0 f32/f32/f32:bad$' "$out.ncu"
expect "other bits are shown" printed '^  other .* BITS'
expect "ncu is tried three times" ended counters-3 1
expect "a sanitizer that hangs is stopped" ended memcheck-0 124
expect "and what time is too short for is left out" ended synccheck-0 125
expect "the run ends in time" [ "$(sed -nE 's/^done in ([0-9]+) s.*/\1/p' "$dir/printed")" -le 35 ]

sleep 1 # for the last second of what was stopped
expect "and leaves no process behind" bash -c '! ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -F "$1"' left "$tree"

finish
