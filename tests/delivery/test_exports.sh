#!/usr/bin/env bash
# What leaves a library: nothing but fopt_*, and of that nothing internal from the shared library.
# Arguments: the static library, the shared library, and the two of fusedopt_checkpoint, if they are built.
set -u
static=$1 shared=$2
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"

# Sanitizers add symbols of their own, and nvcc the handles by which kernels are registered.
ours() { grep -vE '^(__asan|__odr_asan|__ubsan|__tsan|__sanitizer)|__device_stub__|__cudaFatCubinHandle' || true; }

[ -f "$static" ] && [ -f "$shared" ] || { echo "Bail out! no library to look at"; exit 1; }
# compare_exports SHARED HEADER: the functions that only one of the two has.
compare_exports() {
    diff <(nm -D --defined-only "$1" | awk '{ print $NF }' | ours | sort -u) <(grep -oE 'FOPT_API .*' \
        "$(dirname "$0")/../../include/$2" | grep -oE '\bfopt_[a-z_]+\(' | tr -d '(' | sort -u)
}
exported=$(nm -D --defined-only "$shared" | awk '{ print $NF }' | ours)
check "the shared library exports only fopt_*" "$(grep -vE '^fopt_' <<<"$exported")"
check "the shared library hides fopt_i_*" "$(grep -E '^fopt_i_' <<<"$exported")"
check "the static library defines only fopt_*" \
    "$(nm -g --defined-only "$static" 2>/dev/null | awk 'NF == 3 { print $3 }' | ours | grep -vE '^fopt_')"

check "every function of the header is exported, and none else" "$(compare_exports "$shared" fusedopt.h)"

# The environment and the process are noted once, as the library is loaded; NVTX keeps what a profiler has put into its table.
writable=$(objdump -t "$static" 2>/dev/null |
    awk '$0 ~ / O \.(data|bss|tbss|tdata|data\.rel|data\.rel\.local)[ \t]/ { print $NF }' |
    ours | grep -vxE 'last_error|wished_isa|loading_process|nvtxGlobals_v3')
check "no writable data but the text of each thread's last error, what was when it was loaded, and NVTX's table" "$writable"

# undefined LIBRARY...: the names that they take from elsewhere.
undefined() { nm -u "$@" 2>/dev/null | awk '{ print $NF }' | sort -u; }
check "no memory is allocated but by allocators, whose default takes aligned_alloc()" \
    "$(undefined "$static" | grep -E '^(malloc|calloc|realloc|strn?dup|qsort|asprintf)$')"
check "nothing prints, exits or aborts" \
    "$(undefined "$static" |
        grep -E '^(printf|puts|putchar|fprintf|fputs|perror|exit|_exit|abort|__assert_fail)$')"
check "no C++ runtime and no CUDA driver is asked for, so that C links it, and a machine without a GPU starts it" \
    "$(undefined "$static" "$shared" | grep -E '^(_Z|__cxa_[^af]|__gxx|_Unwind|cu[A-Z])')"

# ---- the companion ----

if [ $# -lt 4 ]; then
    skip "fusedopt_checkpoint" "it is not built"
    finish
fi
check "fusedopt_checkpoint: every function of the header is exported, and none else" \
    "$(compare_exports "$4" fusedopt_checkpoint.h)"
check "fusedopt_checkpoint: it defines only fopt_*" \
    "$(nm -g --defined-only "$3" | awk 'NF == 3 { print $3 }' | ours | grep -vE '^fopt_')"
check "fusedopt_checkpoint: it has no name that the library has" \
    "$(sort <(nm -g --defined-only "$static" "$3" 2>/dev/null | awk 'NF == 3 { print $3 }' | ours) | uniq -d)"
check "fusedopt_checkpoint: no writable data" \
    "$(objdump -t "$3" | awk '$0 ~ / O \.(data|bss|tbss|tdata|data\.rel|data\.rel\.local)[ \t]/ { print $NF }' | ours)"
check "fusedopt_checkpoint: nothing prints, exits or aborts" \
    "$(undefined "$3" | grep -E '^(printf|puts|putchar|fprintf|fputs|perror|exit|_exit|abort|__assert_fail)$')"
finish
