#!/usr/bin/env bash
# Configuring a copy of the sources, in a path with a space: the presets, what is said of what is missing, the version.
# Arguments: the project's folder, cmake, ctest, the C compiler. Prints TAP.
set -u
project=$1 cmake=$2 ctest=$3
export CC=$4
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
copy="$dir/a copy"
mkdir "$copy" && cd "$copy" || exit 2
(cd "$project" && tar -cf - --exclude=./build --exclude=.git .) | tar -xf -
unset CMAKE_GENERATOR

# cached FILE NAME: a value in a CMakeCache.txt.
cached() {
    sed -n "s/^$2:[A-Z]*=//p" "$1/CMakeCache.txt"
}

"$cmake" --preset library -DFUSEDOPT_CUDA=OFF -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O1 >"$dir/log" 2>&1 &&
    [ "$(cached build/library CMAKE_GENERATOR)" = "Unix Makefiles" ]
report $? "without a choice, CMake chooses the generator"
"$cmake" --build --preset library >"$dir/log" 2>&1 && [ -e build/library/libfusedopt.a ] &&
    [ -e build/library/libfusedopt.so ] && [ -z "$(find build -perm /111 -type f -name '*fusedopt' -o -name 'test_*')" ]
report $? "the preset library builds the library alone"
if command -v ninja >/dev/null; then
    CMAKE_GENERATOR=Ninja "$cmake" --preset library -B "$dir/ninja" >"$dir/log" 2>&1 &&
        [ "$(cached "$dir/ninja" CMAKE_GENERATOR)" = Ninja ]
    report $? "the environment variable CMAKE_GENERATOR is respected"
else
    skip "the environment variable CMAKE_GENERATOR is respected" "ninja is not installed"
fi

# A machine that has nothing that is optional: each is told once, in one place, and nothing is warned of.
optional=(jansson OpenBLAS gnuplot Criterion OpenMP "CUDA compiler")
"$cmake" --preset release -DCMAKE_CUDA_COMPILER= -DFUSEDOPT_JANSSON_LIBRARY= -DFUSEDOPT_OPENBLAS_LIBRARY= \
    -DFUSEDOPT_GNUPLOT= -DFUSEDOPT_CRITERION_LIBRARY= -DCMAKE_DISABLE_FIND_PACKAGE_OpenMP=ON \
    >"$dir/log" 2>&1
said=$?
for name in "${optional[@]}"; do
    [ "$(grep -c "$name was not found" "$dir/log")" -eq 1 ] || said=1
done
[ "$(sed -n '/is built without/,/^--/p' "$dir/log" | grep -c 'was not found')" -eq ${#optional[@]} ] || said=1
grep -qE 'CMake (Warning|Error)' "$dir/log" && said=1
report $said "what is missing is told once"

"$ctest" --preset release -N -R '^count$' >"$dir/log" 2>&1 && grep -q 'Total Tests: 1' "$dir/log" &&
    ! "$ctest" --preset release -R '^no_such_test$' >"$dir/log" 2>&1
report $? "a preset that runs no test fails"

sed -i -E 's/(FOPT_VERSION_MAJOR) [0-9]+/\1 3/
    s/(FOPT_VERSION_MINOR) [0-9]+/\1 14/
    s/(FOPT_VERSION_PATCH) [0-9]+/\1 15/' include/fusedopt.h
"$cmake" --build --preset library --target fusedopt_backends >"$dir/log" 2>&1 &&
    grep -q '^Version: 3\.14\.15$' build/library/fusedopt.pc &&
    grep -q '^set(PACKAGE_VERSION "3\.14\.15")$' build/library/fusedopt-config-version.cmake
report $? "the version is the header's, also when that changes"

finish
