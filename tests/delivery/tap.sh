# Sourced by the tests of this folder, which print TAP: a folder of their own, $dir, that is removed at the end, and the
# lines that they print.
# shellcheck shell=bash
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT
tap_count=0 tap_failed=0

# report STATUS TEXT: a test's line. If it failed, $status and what lies in the files log, out and err of $dir say more.
report() {
    local file
    tap_count=$((tap_count + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $tap_count - $2"
        return
    fi
    echo "not ok $tap_count - $2"
    [ -z "${status:-}" ] || echo "# exit status $status"
    for file in "$dir"/{log,out,err}; do
        [ ! -s "$file" ] || sed 's/^/# /' "$file"
    done
    tap_failed=1
}

# check TEXT WRONG: passes if nothing is wrong. What is, a line each, is shown.
check() {
    grep . <<<"$2" | head -n 40 >"$dir/log"
    [ -z "$2" ]
    report $? "$1"
}

# skip TEXT REASON
skip() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

# run ARGUMENT...: runs $program; leaves its exit status in $status and what it printed in the files out and err.
run() {
    "$program" "$@" >out 2>err
    status=$?
}

# Prints the plan, and leaves.
finish() {
    echo "1..$tap_count"
    exit "$tap_failed"
}
