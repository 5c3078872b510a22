#!/usr/bin/env bash
# The program on a machine that has no jansson, no OpenBLAS and no pkg-config; and where jansson lies in a folder of its
# own. The tests where nothing is that they can do without. Arguments: the project's folder, cmake, ctest, the generator,
# the C compiler, and the folder of jansson.h, if there is one. Prints TAP.
set -u
project=$1 cmake=$2 ctest=$3 generator=$4 compiler=$5 headers=${6:-}
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$dir" || exit 2

# configure FOLDER OPTION...: a build of the program alone, with the options that compile fastest.
configure() {
    "$cmake" -S "$project" -B "$1" -G "$generator" -DCMAKE_C_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Debug \
        -DCMAKE_C_FLAGS_DEBUG=-O1 -DFUSEDOPT_CUDA=OFF -DFUSEDOPT_TESTS=OFF -DFUSEDOPT_INSTALL=OFF \
        -DFUSEDOPT_WERROR=ON "${@:2}" >log 2>&1
}

configure bare -DFUSEDOPT_JANSSON_LIBRARY= -DFUSEDOPT_OPENBLAS_LIBRARY= -DFUSEDOPT_OPENMP=OFF &&
    [ "$(grep -c 'jansson was not found' log)" -eq 1 ] && "$cmake" --build bare --target fusedopt_program >>log 2>&1
report $? "the program is built without jansson, OpenBLAS and OpenMP"
bare/fusedopt info >log 2>&1 && grep -q 'plain loops' log
report $? "it runs"
for command in train bench verify state; do
    bare/fusedopt $command --json file.json >out 2>log
    [ $? -eq 2 ] && [ ! -s out ] && [ ! -e file.json ] &&
        grep -q -e '--json: this build has no JSON: it was configured without jansson' log
    report $? "it refuses $command --json"
done
bare/fusedopt verify --case 0 >log 2>&1 && grep -q ' ok$' log
report $? "it checks a case"

if [ -e "$headers/jansson.h" ]; then
    mkdir -p own/include own/lib
    cp "$headers"/jansson*.h own/include
    ar rc own/lib/libjansson.a # empty, but there to be found
    configure found -DCMAKE_PREFIX_PATH="$dir/own" && ! grep -q 'jansson was not found' log &&
        grep -q "^FUSEDOPT_JANSSON_LIBRARY:FILEPATH=$dir/own/lib/libjansson.a\$" found/CMakeCache.txt &&
        grep -q "^FUSEDOPT_JANSSON_INCLUDE_DIR:PATH=$dir/own/include\$" found/CMakeCache.txt
    report $? "jansson is found in the folder that CMAKE_PREFIX_PATH names"
else
    skip "jansson is found in the folder that CMAKE_PREFIX_PATH names" "no jansson.h"
fi

configure tests -DFUSEDOPT_TESTS=ON -DFUSEDOPT_JANSSON_LIBRARY= -DFUSEDOPT_CRITERION_LIBRARY= \
    -DFUSEDOPT_CUDA_HEADERS= && (cd tests && "$ctest" --verbose -R '^(criterion|program|emulator)$') 2>&1 |
    awk -f "$project/tests/count.awk" >log 2>&1
[ "$(tail -n 1 log)" = "0 passed, 0 failed, 3 skipped" ]
report $? "what cannot be tested without Criterion, jansson and CUDA's headers counts as skipped"

finish
