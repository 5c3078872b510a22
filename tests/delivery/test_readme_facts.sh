#!/usr/bin/env bash
# Whether what README.md names is there: links, files, presets, options, calls, messages; and whether the times at its
# beginning were measured, without doubt. Argument: the project's folder. Prints TAP.
set -u
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$1" || exit 2
readme=README.md

# Functions that print what is wrong.
links() {
    local anchors
    anchors=$(sed -n 's/^##* //p' $readme | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9 -]//g; s/ /-/g')
    grep -oE '\]\([^)]+\)' $readme | sed 's/^..//; s/.$//' | while read -r link; do
        case $link in
        '#'*) grep -qxF -e "${link#\#}" <<<"$anchors" ;;
        *) [ -e "$link" ] ;;
        esac || echo "$link"
    done
}
files() {
    grep -oE '\b(bench|tests|host|include|kernels|checkpoint|python)/[A-Za-z0-9_./-]*[A-Za-z0-9_]' $readme | while read -r path; do
        [ -e "$path" ] || echo "$path"
    done
}
presets() {
    grep -oE -e 'preset `?[a-z][a-z-]*' -e 'build/(release|library)\b' $readme | sed 's/.*[ `/]//' |
        while read -r name; do
            grep -q "{\"name\": \"$name\", \"inherits\": \"base\"\|\"name\": \"$name\",$" CMakePresets.json ||
                echo "$name"
        done
}
options() {
    diff <(sed -n 's/^ *option(\([A-Z_]*\).*/\1/p' CMakeLists.txt tests/CMakeLists.txt bench/CMakeLists.txt | sort) \
        <(sed -n 's/^| `\(FUSEDOPT_[A-Z_]*\)` | .*/\1/p' $readme | sort | uniq -c | sed 's/^ *1 //') | grep '^[<>]'
}
names() {
    grep -oE '\b(fopt|FOPT)_[A-Za-z0-9_]*[A-Za-z0-9]\b' $readme | sort -u | while read -r name; do
        grep -qE "\b$name" include/*.h || echo "$name"
    done
}
# A quotation may leave out what comes before, and its values.
messages() {
    while read -r text; do
        grep -qF -e "$text" $readme || echo "not in the README: $text"
        cat host/*.c kernels/rules/*.h | tr -s ' \n' ' ' | sed 's/" "//g' | grep -qF -e "$text" ||
            echo "not in a source: $text"
    done <<'END'
must be the sizeof of its type
eps are all 0: fopt_group_init() sets them
which is not memory of CUDA device
which overlaps the
this build of fusedopt has the CPU backend alone
END
}
times() {
    local numbers
    numbers=$(sed -n '/^| for an engine/,/^$/p' $readme | grep -oE '[0-9.]+ (ns|times)')
    [ -n "$numbers" ] || echo "there are none"
    sed 's/ ns//; s/ times/x/' <<<"$numbers" | while read -r number; do
        grep -v '!' bench/results/epyc-genoa-2-cores.md | grep -qF "| $number " || echo "$number"
    done
}

check "links lead somewhere" "$(links)"
check "files that it names are there" "$(files)"
check "presets that it names are there" "$(presets)"
check "its table has every option once, and no other" "$(options)"
check "calls and constants that it names are the header's" "$(names)"
check "messages that it quotes are the library's" "$(messages)"
check "the times at its beginning were measured, without doubt" "$(times)"
finish
