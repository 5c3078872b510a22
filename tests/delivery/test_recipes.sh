#!/usr/bin/env bash
# Whether the recipes of CONTRIBUTING.md hold: tests/recipes/ has a rule and a format made by them, as patches. Each
# touches as many files and lines as the page says, and the library compiles with it. With both, the tests that take
# what there is from the lists find the new rule and the new format, and pass.
# Arguments: the project's folder, cmake, its generator, the C compiler. Prints TAP.
set -u
project=$1 cmake=$2 generator=$3 compiler=$4
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
recipes=$project/tests/recipes
if ! command -v patch >/dev/null; then
    skip "the recipes" "there is no program patch"
    finish
fi
cd "$dir" || exit 2

# A copy of what is built, in FOLDER.
copy() {
    mkdir "$1" && (cd "$project" && cp -r CMakeLists.txt bench checkpoint host include kernels python tests "$dir/$1")
}

apply() { # RECIPE FOLDER
    patch -p1 -s --fuzz=0 --no-backup-if-mismatch -d "$2" <"$recipes/$1.patch" >log 2>&1 && return
    echo "tests/recipes/$1.patch does not apply: bring it and the recipe in CONTRIBUTING.md up to date" >>log
    return 1
}

configure() { # FOLDER OPTION...: in FOLDER/build
    "$cmake" -S "$1" -B "$1/build" -G "$generator" -DCMAKE_C_COMPILER="$compiler" -DFUSEDOPT_CUDA=OFF \
        -DFUSEDOPT_INSTALL=OFF -DFUSEDOPT_WERROR=ON "${@:2}" >log 2>&1
}

build() { # FOLDER TARGET...
    "$cmake" --build "$1/build" --parallel "$(nproc)" --target "${@:2}" >log 2>&1
}

# Whether the sources of the library in FOLDER compile; the loops are the same for all instruction sets.
compiles() {
    local sources
    mapfile -t sources < <(ls "$1"/kernels/cpu/*.c "$1"/host/*.c | grep -vE '/(walk_avx.*|cuda_.*)\.c$')
    "$compiler" -std=c11 -Wall -Wextra -Werror -fsyntax-only -I"$1/include" "${sources[@]}" >log 2>&1
}

# What a patch touches, in the words of CONTRIBUTING.md: new files, and in others the lines that are new or changed.
counts() { # RECIPE
    awk '
        function part(path) { return path ~ /^(include|kernels|host)\// ? 1 : path ~ /^tests\// ? 2 : 3 }
        /^--- / { is_new = $2 == "/dev/null"; next }
        /^\+\+\+ / { at = part(substr($2, 3)); files[at, is_new]++; next }
        /^\+/ { lines[at, is_new]++ }
        function others(at) { return lines[at, 0] (lines[at, 0] == 1 ? " line in " : " lines in ") files[at, 0] }
        END {
            printf "The library: %d new file of %d lines, and %s others. The tests: %s. The programs: %s.\n", \
                files[1, 1], lines[1, 1], others(1), others(2), others(3)
        }' "$recipes/$1.patch"
}

for recipe in lion e4m3; do
    copy $recipe && apply $recipe $recipe
    report $? "$recipe.patch applies"
    counts $recipe >log
    tr -s ' \n' ' ' <"$project/CONTRIBUTING.md" | grep -qF -f log
    report $? "CONTRIBUTING.md says what $recipe.patch touches"
    compiles $recipe
    report $? "the library compiles with $recipe alone"
done

copy both && apply lion both && apply e4m3 both
applied=$?
report $applied "both patches apply, one after the other"
[ $applied -eq 0 ] || finish
# Less optimized, which compiles in half the time and runs little longer.
configure both -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O1 -DCMAKE_CXX_FLAGS_DEBUG=-O1 &&
    build both fusedopt_program
report $? "library and program can be built with both"
both/build/fusedopt verify --quick --rule lion >out 2>log && grep -q '/e4m3 ' out && tail -n 1 out | grep -q ': 0 wrong'
report $? "fusedopt verify has the rule and the format, and finds nothing wrong"
both/build/fusedopt state --quick --steps 100 >out 2>log &&
    [ "$(grep -cE '^dense .* (e4m3|e4m3/bf16|bf16/e4m3) ' out)" -eq 3 ]
report $? "fusedopt state has the format, and mixes it with others"

# Whether all chosen tests of a Criterion program pass, and there are any.
passes() { # TEXT PROGRAM [FILTER]
    if ! grep -q "test_$2 *\$" targets; then
        skip "$1" "no Criterion, or none of what the emulator needs"
        return
    fi
    build both "test_$2" && "both/build/tests/test_$2" --tap ${3:+--filter "$3"} >log 2>&1 &&
        grep '^ok' log | grep -qv '# SKIP'
    report $? "$1"
}
"$cmake" --build both/build --target help >targets 2>log
passes "the lists have all that the library accepts" cases
passes "the rule is the oracle's" oracle
passes "it treats special values as all do" special
passes "the format keeps what a quantized moment owes, with every rule" quantized
passes "instruction sets and routes agree to the bit" twin 'twin/other*'
passes "so does the emulated CUDA device" device_twin_emulated 'device_twin/all_cases*'

finish
