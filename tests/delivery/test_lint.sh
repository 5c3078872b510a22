#!/usr/bin/env bash
# clang-format and clang-tidy over the sources. Arguments: the project's folder, a build folder with
# compile_commands.json.
set -u
project=$1 build=$2 failed=0
cd "$project" || exit 1
mapfile -t sources < <(git ls-files '*.c' '*.h' '*.cu' '*.cuh' '*.cc' | grep -v '^bench/train/digits.h$')

run() { # number, tool, text, command
    if ! command -v "$2" >/dev/null; then
        echo "ok $1 - $3 # SKIP $2 is not installed"
    elif output=$("${@:4}" 2>&1); then
        echo "ok $1 - $3"
    else
        echo "not ok $1 - $3"
        sed 's/^/# /' <<<"$output"
        failed=1
    fi
}

# The files that this build compiles.
tidy() {
    git ls-files '*.c' | while read -r file; do
        grep -qF "\"$project/$file\"" "$build/compile_commands.json" && echo "$file"
    done | xargs -P 2 -n 8 clang-tidy --quiet -p "$build"
}

run 1 clang-format "the sources are formatted" clang-format --dry-run --Werror "${sources[@]}"
run 2 clang-tidy "clang-tidy has nothing to say" tidy
echo "1..2"
exit $failed
