#!/usr/bin/env bash
# Whether the tables of FOPT_Q8 are those that their script writes. Argument: the project's folder. Prints TAP.
set -u
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$1/kernels/formats" || exit 2
if ! command -v python3 >/dev/null; then
    skip "q8_tables.h is what q8_tables.py writes" "there is no Python"
else
    check "q8_tables.h is what q8_tables.py writes" "$(python3 -B q8_tables.py 2>&1 | diff q8_tables.h -)"
fi
finish
