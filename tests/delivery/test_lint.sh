#!/usr/bin/env bash
# clang-format and clang-tidy over the sources, and the beginnings of comments in the library. Arguments: the project's
# folder, a build folder with compile_commands.json.
set -u
project=$1 build=$2
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$project" || exit 1
mapfile -t sources < <(git ls-files '*.c' '*.h' '*.cu' '*.cuh' '*.cc' | grep -v '^bench/train/digits.h$')

run() { # TOOL TEXT COMMAND...
    if ! command -v "$1" >/dev/null; then
        skip "$2" "$1 is not installed"
    else
        "${@:3}" >"$dir/log" 2>&1
        report $? "$2"
    fi
}

# The files that this build compiles.
tidy() {
    git ls-files '*.c' | while read -r file; do
        grep -qF "\"$project/$file\"" "$build/compile_commands.json" && echo "$file"
    done | xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p "$build"
}

run clang-format "the sources are formatted" clang-format --dry-run --Werror "${sources[@]}"
run clang-tidy "clang-tidy has nothing to say" tidy
check "no comment of the library begins with Of, Those, In or Then" \
    "$(grep -rnE '/\* (Of|Those|In|Then) ' include host kernels checkpoint)"
finish
