#!/usr/bin/env bash
# What nvcc makes of the kernels, read without a GPU. Arguments: the project's folder, nvcc, a library that was built.
# The table of registers and of machine code is tests/registers.txt; `tests/delivery/test_ptx.sh PROJECT NVCC --update`
# writes it anew. How many instructions a tile takes is in tests/slots.txt, which is changed by hand.
set -u
project=$1 nvcc=$2 library=$3
flags=(-std=c++17 -Xcompiler=-ffp-contract=off -I"$project/include")
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$project/kernels/cuda" || exit 1

for kernel in *.cu; do
    # Keeps the PTX. What ptxas says of a kernel: its name, registers, bytes of stack, of spill stores and spill loads.
    "$nvcc" "${flags[@]}" -fmad=false -arch=sm_90 -keep -keep-dir "$dir" -Xptxas -v -cubin "$kernel" \
        -o "$dir/kernel.cubin" 2>&1 |
        awk '/Function properties for/ { name = $NF }
             /bytes stack frame/ { stack = $1; stores = $5; loads = $9 }
             /Used [0-9]+ registers/ {
                 match($0, /Used [0-9]+/)
                 print name, substr($0, RSTART + 5, RLENGTH - 5), stack, stores, loads
             }' >"$dir/columns"
    python3 -B "$project/bench/gpu/kernels.py" "$dir/kernel.cubin" "$dir/columns" || exit 1
done | LC_ALL=C sort >"$dir/registers.txt"
cat "$dir"/*.ptx >"$dir/all.ptx"
all=$dir/all.ptx
version=$("$nvcc" --version | grep -oE 'V[0-9]+\.[0-9]+\.[0-9]+')

if [ "$library" = --update ]; then
    {
        echo "# nvcc $version"
        echo "# sm_90: kernel, registers, bytes of stack, of spill stores, of spill loads; hash of machine code"
        cat "$dir/registers.txt"
    } >"$project/tests/registers.txt"
    exit 0
fi

seeds='(rsqrt|rcp)\.approx\.ftz\.f32' # of kernels/roots.h
check "nothing is approximate, but for seeds" "$(grep -nE '\.approx|\.ftz' "$all" | grep -vE "$seeds")"
check "divisions and roots round to nearest" \
    "$(grep -nE '^\s*(div|sqrt|rcp)\.' "$all" | grep -vE "$seeds|(div|sqrt|rcp)\.rn\.f(32|64)|div\.[us]")"
check "no local memory" "$(grep -nE '\.local|\b(ld|st)\.local' "$all")"
check "every access says where it is: global, shared, or an argument" \
    "$(grep -nE '^\s*(@%p[0-9]+ )?(ld|st)\.' "$all" | grep -vE '(ld|st)\.(global|shared|param)\.')"

# The step's arrays: 16 bytes an access. Narrower are the single elements of a partial tile, and the tables.
wide=$(grep -cE '(ld|st)\.global\.v4\.(u32|b32|f32)' "$dir/step.ptx")
check "the vector path takes 16 bytes at once" "$([ "$wide" -ge 100 ] || echo "only $wide accesses of 16 bytes")"
codes=$(grep -cE '(ld|st)\.global\.v2\.(u32|b32)' "$dir/step.ptx")
check "and 8 bytes of codes" "$([ "$codes" -ge 20 ] || echo "only $codes accesses of 8 bytes")"

# ptxas fuses `mul` and `add`, but not `mul.rn` and `add.rn`.
check "nothing may be fused later" "$(grep -nE '^\s*(@%p[0-9]+ )?(add|sub|mul)\.f(32|64)' "$all")"

if [ "$version" = "$(sed -n 's/^# nvcc //p' "$project/tests/registers.txt")" ]; then
    check "registers, spills and machine code are those of the table" \
        "$(diff <(grep -v '^#' "$project/tests/registers.txt") "$dir/registers.txt")"
else
    skip "registers, spills and machine code" "the table is of another nvcc"
fi
if built=$(python3 -B "$project/bench/gpu/kernels.py" "$library" 2>/dev/null); then
    check "the machine code in the library is the same" \
        "$(diff <(awk '{ print $1, $NF }' "$dir/registers.txt") - <<<"$built")"
else
    skip "the machine code in the library" "it was not built for sm_90"
fi
mkdir "$dir/elsewhere"
cp -r "$project/kernels" "$project/include" "$dir/elsewhere"
another="__global__ void another(float *x) { x[threadIdx.x] = sqrtf(x[threadIdx.x]); }"
sed -i "1i$another" "$dir/elsewhere/kernels/cuda/tables.cu"
cd "$dir/elsewhere/kernels/cuda" || exit 1
"$nvcc" "${flags[@]}" -fmad=false -arch=sm_90 -cubin tables.cu -o "$dir/kernel.cubin" || exit 1
check "neither a folder nor another kernel changes a hash" \
    "$(python3 -B "$project/bench/gpu/kernels.py" "$dir/kernel.cubin" | grep -v '^another ' |
        grep -vxFf <(awk '{ print $1, $NF }' "$dir/registers.txt") || true)"
"$nvcc" "${flags[@]}" -fmad=false -arch=sm_90 -cubin "$project/tests/delivery/tile_step.cu" -o "$dir/kernel.cubin" || exit 1
if [ "$version" = "$(sed -n 's/^# nvcc //p' "$project/tests/slots.txt")" ]; then
    check "a tile takes as many instructions as the table says, to 3 %" \
        "$(python3 -B "$project/tests/delivery/slots.py" "$dir/kernel.cubin" "$project/tests/slots.txt" 2>&1)"
else
    skip "the instructions of a tile" "the table is of another nvcc"
fi
check "no kernel spills" "$(awk '$3 + $4 + $5 > 0' "$dir/registers.txt")"
finish
