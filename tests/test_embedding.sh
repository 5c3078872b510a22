#!/usr/bin/env bash
# The header and the README's example as an engine would use them: each language and compiler, both libraries, and CMake.
# Arguments: the project's folder, the static library, the shared library, what the static one needs to
# be linked with.
set -u
project=$1 static=$2 shared=$3 number=0 failed=0
needs=("${@:4}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$project/README.md" >"$work/example.c"
expected=$(sed -n 's/^It prints `\(.*\)`\..*/\1/p' "$project/README.md")
cp "$work/example.c" "$work/example.cc"
echo '#include "fusedopt.h"' >"$work/header.c"
cp "$work/header.c" "$work/header.cc"

report() { # status, text
    number=$((number + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        sed 's/^/# /' "$work/log"
        failed=1
    fi
}

skip() {
    number=$((number + 1))
    echo "ok $number - $1 # SKIP $2"
}

header() { # source, compiler, options
    "$2" "${@:3}" -Wall -Wextra -Wpedantic -Wconversion -Werror -fsyntax-only -I"$project/include" "$work/$1" \
        >"$work/log" 2>&1
    report $? "the header alone: ${*:2}"
}

example() { # source, compiler, standard, library
    {
        "$2" "$3" -Wall -Wextra -Wno-missing-field-initializers -Wpedantic -Werror -I"$project/include" "$work/$1" "${@:4}" -lm -o "$work/example" &&
            output=$("$work/example") && echo "$output" && [ "$output" = "$expected" ]
    } >"$work/log" 2>&1
    report $? "the README's example: $2 $3 with $(basename "$4")"
}

[ -n "$expected" ] && [ -s "$work/example.c" ]
report $? "the README has the example and what it prints"

# A library with a sanitizer in it asks that of its users.
if nm "$static" 2>/dev/null | grep -qE '__asan|__tsan'; then
    skip "embedding" "the library is instrumented"
    echo "1..$number"
    exit $failed
fi

for compiler in gcc clang g++ clang++; do
    case $compiler in
    *++) source=cc standards=(-std=c++11 -std=c++17) ;;
    *) source=c standards=(-std=c99 -std=c11) ;;
    esac
    if ! command -v $compiler >/dev/null; then
        skip "$compiler" "$compiler is not installed"
        continue
    fi
    for standard in "${standards[@]}"; do
        header "header.$source" $compiler "$standard"
        example "example.$source" $compiler "$standard" "$static" "${needs[@]}"
        example "example.$source" $compiler "$standard" "$shared" "-Wl,-rpath,$(dirname "$shared")"
    done
done

mkdir "$work/engine"
cp "$work/example.c" "$work/engine"
cat >"$work/engine/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.22)
project(engine LANGUAGES C)
add_subdirectory($project fusedopt)
add_executable(engine example.c)
target_link_libraries(engine PRIVATE fusedopt::fusedopt)
END
{
    cmake -S "$work/engine" -B "$work/engine/build" -DCMAKE_BUILD_TYPE=Release &&
        cmake --build "$work/engine/build" --target engine &&
        output=$("$work/engine/build/engine") && [ "$output" = "$expected" ]
} >"$work/log" 2>&1
report $? "the README's example: add_subdirectory"

echo "1..$number"
exit $failed
