#!/usr/bin/env bash
# The reference manual: Doxygen has no complaint, and every name of the header is described in it.
# Argument: the project's folder.
set -u
cd "$1" || exit 1
if ! command -v doxygen >/dev/null; then
    echo "ok 1 - the manual # SKIP doxygen is not installed"
    echo "1..1"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

report() { # number, text, the problems
    if [ -z "$3" ]; then
        echo "ok $1 - $2"
    else
        echo "not ok $1 - $2"
        sed 's/^/# /' <<<"$3"
        failed=1
    fi
}

output=$(FUSEDOPT_MANUAL=$work doxygen host/package/Doxyfile 2>&1) || output="${output:-doxygen failed}"
report 1 "the manual is built without a warning" "$output"

# As the compiler sees it, so that nothing hangs on how Doxygen reads the header.
names=$({
    gcc -E -P -x c include/fusedopt.h | grep -oE '\bfopt_[a-z_0-9]+ *\(|\bFOPT_[A-Z0-9_]+'
    gcc -E -dM -x c include/fusedopt.h | grep -oE '#define FOPT_[A-Z0-9_]+' | sed 's/#define //; /^FOPT_API$/d'
} | tr -d '( ' | sort -u)
report 2 "it has every function, constant and macro" "$(while read -r name; do
    grep -rqF ">$name" "$work/html" || echo "$name"
done <<<"${names:-gcc, which did not preprocess the header}")"
echo "1..2"
exit $failed
