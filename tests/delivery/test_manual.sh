#!/usr/bin/env bash
# The manuals. The program's page: it has every command and option that the program tells of, and man(7) has no
# complaint. The reference manual: Doxygen has none either, and every name of the headers is described in it.
# Arguments: the project's folder, the program, or "none". Prints TAP.
set -u
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
program=$2
cd "$1" || exit 1

# ---- the program's page ----

# absent WORDS...: those that the page does not have, as it is shown.
absent() {
    local word
    for word in "$@"; do
        tr -s ' \n' ' ' <"$dir/shown" | grep -qF -e "$word" || echo "$word"
    done
}

if [ "$program" = none ]; then
    skip "the program's page" "the program is not built"
else
    page=$dir/fusedopt.1
    check "the program's page is written" "$(sh host/package/man.sh "$program" "$page" 2>&1 || echo "it fails")"
    mapfile -t commands < <("$program" --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p')
    options=()
    for command in "${commands[@]}"; do
        mapfile -t -O ${#options[@]} options < <("$program" "$command" --help | grep -oE '^ +--[a-z0-9-]+( [A-Z]+)?' |
            sed 's/^ *//')
    done
    # Without groff the page is read as it is written, which is enough to see that nothing is left out.
    shown() { sed 's/\\-/-/g; s/\\f[BR]//g' "$page"; }
    if command -v groff >/dev/null; then
        check "groff has no complaint" "$(groff -man -ww -z "$page" 2>&1)"
        shown() { groff -man -Tascii -P-cbou -rLL=200n "$page"; }
    else
        skip "groff has no complaint" "groff is not installed"
    fi
    shown >"$dir/shown"
    check "it has every command and option" "$([ ${#commands[@]} -gt 2 ] && [ ${#options[@]} -gt 10 ] || echo "few: \
${commands[*]} ${options[*]}"; absent "${commands[@]/#/fusedopt }" "${options[@]}")"
    check "a program that fails is an error" "$(sh host/package/man.sh false "$dir/none" 2>&1 && echo "it is none")"
fi

# ---- the reference manual ----

if ! command -v doxygen >/dev/null; then
    skip "the reference manual" "doxygen is not installed"
else
    output=$(FUSEDOPT_MANUAL=$dir doxygen host/package/Doxyfile 2>&1) || output="${output:-doxygen failed}"
    check "the reference manual is built without a warning" "$output"

    # As the compiler sees it, so that nothing hangs on how Doxygen reads the header.
    names=$({
        gcc -E -P -Iinclude -x c include/fusedopt_checkpoint.h | grep -oE '\bfopt_[a-z_0-9]+ *\(|\bFOPT_[A-Z0-9_]+'
        gcc -E -dM -Iinclude -x c include/fusedopt_checkpoint.h | grep -oE '#define FOPT_[A-Z0-9_]+' |
            sed 's/#define //; /^FOPT_API$/d'
    } | tr -d '( ' | sort -u)
    check "it has every function, constant and macro" "$(while read -r name; do
        grep -rqF ">$name" "$dir/html" || echo "$name"
    done <<<"${names:-gcc, which did not preprocess the header}")"
fi
finish
