#!/usr/bin/env bash
# The library built without CMake, as another build system would: its bits are those of CMake's, and a compiler that was
# told to compute otherwise is refused, in words. Such a build compiles
#   cc -O2 -std=c11 -Iinclude -c kernels/cpu/*.c host/*.c
# but host/cuda_*.c, and links with -lm. kernels/cpu/walk_avx*.c want the flags of their instruction set, as
# in CMakeLists.txt: without them the library lacks the set.
# Arguments: the project's folder, the shared library. Prints TAP.
set -u
project=$1 library=$2
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$dir" || exit 2
unset FUSEDOPT_ISA
export LC_ALL=C

# ---- the same bits ----

awk '/^```c$/ { on = 1; next } /^```$/ { if (on) exit } on' "$project/README.md" >example.c
expected=$(sed -n '/^It prints `/ { s/^It prints `\(.*\)`\..*/\1/p; q }' "$project/README.md")

# Prints each instruction set that the library has here, and a hash of all parameters and states after each of 5 steps.
cat >hashes.c <<'END_C'
#include "fusedopt.h"
#include <stdio.h>
#include <stdlib.h>
enum { COUNT = 999, STEPS = 5, RULES = 4, FORMATS = 3 };
static const fopt_format moments[FORMATS] = {FOPT_F32, FOPT_BF16, FOPT_Q8};
static uint64_t state, hash;

static uint32_t random_bits(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

/* Magnitudes from 2^-4 to 2^4, in any format. */
static void fill(void *array, fopt_format format)
{
    for (size_t i = 0; i < COUNT; i++) {
        const uint32_t r = random_bits(), sign = r >> 31, exponent = r >> 8 & 7u;
        if (format == FOPT_F32)
            ((uint32_t *)array)[i] = sign << 31 | (123 + exponent) << 23 | (random_bits() >> 9);
        else if (format == FOPT_BF16)
            ((uint16_t *)array)[i] = (uint16_t)(sign << 15 | (123 + exponent) << 7 | (r >> 16 & 127u));
        else
            ((uint16_t *)array)[i] = (uint16_t)(sign << 15 | (11 + exponent) << 10 | (r >> 16 & 1023u));
    }
}

static void add(const void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
}

/* Adds what one rule does to one format of parameters and one of moments. */
static void run(fopt_isa isa, fopt_rule rule, fopt_format format, fopt_format moment)
{
    static uint32_t param[COUNT], grad[COUNT];
    fopt_config config = {.size = sizeof config, .isa = isa, .seed = 7};
    fopt_group group;
    fopt_tensor tensor = {.size = sizeof tensor, .param = param, .grad = grad, .count = COUNT,
                          .param_format = format, .grad_format = format};
    fopt_optimizer *optimizer;
    fopt_group_init(&group, sizeof group, rule);
    group.lr = 0.01;
    group.weight_decay = 0.1;
    group.momentum = rule == FOPT_SGD || rule == FOPT_RMSPROP ? 0.9 : 0;
    for (int kind = 0; kind < FOPT_STATE_KINDS; kind++)
        group.state_format[kind] = moment;
    state = rule * 100u + format * 10u + moment;
    fill(param, format);
    if (fopt_create(&config, &group, 1, &tensor, 1, &optimizer) != FOPT_OK)
        printf("%s\n", fopt_last_error()), exit(1);
    for (int step = 0; step < STEPS; step++) {
        fill(grad, format);
        if (fopt_step(optimizer, NULL, NULL) != FOPT_OK)
            exit(1);
        add(param, COUNT * (format == FOPT_F32 ? 4u : 2u));
        for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            fopt_array view = {.size = sizeof view};
            if (fopt_state(optimizer, 0, (fopt_state_kind)kind, &view) == FOPT_OK && view.data)
                add(view.data, view.bytes);
        }
    }
    fopt_destroy(optimizer);
}

int main(void)
{
    fopt_device_info info = {.size = sizeof info};
    if (fopt_device_query((fopt_device){FOPT_CPU, 0}, &info) != FOPT_OK)
        return 1;
    for (int isa = 1; fopt_isa_name((fopt_isa)isa); isa++) {
        if (!(info.isas & 1u << isa))
            continue;
        hash = 0xcbf29ce484222325u;
        for (int rule = 0; rule < RULES; rule++)
            for (int i = 0; i < FORMATS; i++)
                for (int format = 0; format < FORMATS; format++)
                    run((fopt_isa)isa, (fopt_rule)rule, (fopt_format)format, moments[i]);
        printf("%s %016llx\n", fopt_isa_name((fopt_isa)isa), (unsigned long long)hash);
    }
    return 0;
}
END_C

# Compiles the library into FOLDER; FLAGS are for all files, and with `sets` the wide walks have theirs.
build() { # FOLDER COMPILER SETS FLAGS...
    local folder=$1 compiler=$2 sets=$3 source name
    mkdir "$folder" || return 1
    for source in "$project"/kernels/cpu/*.c "$project"/host/*.c; do
        name=$(basename "$source" .c)
        local own=()
        case $sets.$name in
        *.cuda_*) continue ;;
        sets.walk_avx2) own=(-mavx2 -mfma) ;;
        sets.walk_avx512) own=(-mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl) ;;
        sets.walk_avx512vbmi) own=(-mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vbmi) ;;
        esac
        "$compiler" -O2 -std=c11 "${@:4}" -I"$project/include" "${own[@]}" -c "$source" -o "$folder/$name.o" || return 1
    done
    for name in example hashes; do
        "$compiler" -std=c11 -I"$project/include" $name.c "$folder"/*.o -lm -o "$folder/$name" || return 1
    done
}

# Whether a build has the wanted sets, and CMake's bits in each.
agrees() { # FOLDER WANTED
    [ "$("$1/example")" = "$expected" ] && "$1/hashes" >"$1/hashes.txt" && cat "$1/hashes.txt" &&
        diff "$1/hashes.txt" "$2" &&
        [ "$(cut -d' ' -f2 "$1/hashes.txt" | sort -u)" = "$(cut -d' ' -f2 wanted | sort -u)" ]
}

compilers=()
for compiler in gcc clang; do
    if command -v $compiler >/dev/null; then compilers+=($compiler); fi
done

if nm "$library" 2>/dev/null | grep -qE '__asan|__tsan'; then
    skip "the same bits as CMake's build" "the library is instrumented"
else
    {
        cc -std=c11 -I"$project/include" hashes.c "$library" -Wl,-rpath,"$(dirname "$library")" -o hashes &&
            ./hashes >wanted && grep '^baseline' wanted && [ "$(cut -d' ' -f2 wanted | sort -u | wc -l)" -eq 1 ]
    } >log 2>&1
    report $? "CMake's build has one hash in all instruction sets"
    grep '^baseline' wanted >baseline
    for compiler in "${compilers[@]}"; do
        { build "$compiler-plain" "$compiler" none && agrees "$compiler-plain" baseline; } >log 2>&1
        report $? "$compiler -O2 -std=c11: the README's example, and the same bits; no set but the baseline"
        if [ "$(uname -m)" = x86_64 ]; then
            { build "$compiler-sets" "$compiler" sets && agrees "$compiler-sets" wanted; } >log 2>&1
            report $? "$compiler, with the flags of the wide sets: the same sets and bits"
        fi
    done
fi

# ---- refused ----

ieee="fusedopt needs IEEE arithmetic: compile it without -ffast-math"
precision="fusedopt needs float and double operations in their own precision"
fused="fusedopt must not have a \* b + c fused: compile it with -ffp-contract=off"
gnu="gcc fuses a \* b + c in its GNU modes, and does not tell: compile fusedopt with -std=c11"
endian="fusedopt needs a little-endian machine"

# Preprocesses every walk, which is where the guards are. A compiler that does not know the flags, or has no such
# target, is left out.
tries() { # WORDS COMPILER FLAGS...: no words: it must be accepted
    local words=$1 text=accepts source
    shift
    [ -n "$words" ] && text=refuses
    if ! "$@" -E -x c /dev/null >/dev/null 2>log; then
        skip "$text: $*" "this compiler does not have that"
        return
    fi
    for source in "$project"/kernels/cpu/walk_*.c; do
        "$@" -I"$project/include" -E "$source" 2>log >/dev/null
        local status=$?
        if [ -z "$words" ]; then
            [ $status -eq 0 ]
        else
            [ $status -ne 0 ] && grep -q "error:.*$words" log
        fi || { report 1 "$text: $*, $(basename "$source")" && return; }
    done
    report 0 "$text: $*"
}

for compiler in "${compilers[@]}"; do
    tries "$ieee" "$compiler" -std=c11 -ffast-math
    tries "$ieee" "$compiler" -std=c11 -Ofast
    tries "$ieee" "$compiler" -std=c11 -ffinite-math-only
    tries "" "$compiler" -std=c11 -ffast-math -fno-fast-math
done
if [[ " ${compilers[*]} " == *" gcc "* ]]; then
    tries "$ieee" gcc -std=c11 -funsafe-math-optimizations
    tries "$ieee" gcc -std=c11 -fassociative-math -fno-signed-zeros -fno-trapping-math
    tries "$ieee" gcc -std=c11 -freciprocal-math
    tries "$ieee" gcc -std=c11 -fno-signed-zeros
    tries "$fused" gcc -std=c11 -ffp-contract=fast
    if [ "$(uname -m)" = x86_64 ]; then
        tries "$precision" gcc -std=c11 -mfpmath=387
        tries "$gnu" gcc -std=gnu11 -march=icelake-client
        tries "" gcc -std=gnu11
        tries "" gcc -std=c11 -march=sapphirerapids # AVX512-FP16: FLT_EVAL_METHOD is 16 in the GNU modes
        if gcc -march=sapphirerapids -fsyntax-only -x c /dev/null 2>/dev/null; then
            gcc -std=gnu11 -march=sapphirerapids -I"$project/include" -E "$project/kernels/cpu/zero_grads.c" 2>log \
                >/dev/null
            report $? "accepts: gcc -std=gnu11 -march=sapphirerapids, where nothing can be fused"
        fi
    fi
fi
if [[ " ${compilers[*]} " == *" clang "* ]]; then
    tries "$endian" clang -std=c11 --target=powerpc64-linux-gnu
    tries "$precision" clang -std=c11 --target=i386-linux-gnu -mno-sse
    # clang's default since 14 is to fuse within an expression.
    echo "#include \"$project/kernels/ieee.h\"" >fused.c
    echo 'float f(float a, float b, float c) { return a * b + c; }' >>fused.c
    clang --target=x86_64-linux-gnu -O2 -std=c11 -mfma -S fused.c -o fused.s >log 2>&1 && ! grep -n vfm fused.s >>log
    report $? "clang -mfma fuses nothing behind kernels/ieee.h"
fi

# nvcc defines no macro for --use_fast_math and -fmad=true; what its host compiler is told it does pass on.
if ! nvcc=$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc); then
    skip "refuses: nvcc -Xcompiler=-ffast-math" "no nvcc"
else
    for source in step tables; do
        ! "$nvcc" -std=c++17 -Xcompiler=-ffast-math -I"$project/include" -E "$project/kernels/cuda/$source.cu" 2>log \
            >/dev/null && grep -q "error.*$ieee" log
        report $? "refuses: nvcc -Xcompiler=-ffast-math, $source.cu"
    done
fi

finish
