#!/usr/bin/env bash
# Whether README.md and bench/results/*.md say what was measured. Argument: the project's folder. Prints TAP.
set -u
project=$1
if ! command -v python3 >/dev/null; then
    echo "ok 1 - the tables are those of the measurements # SKIP no python3"
    echo "1..1"
    exit 0
fi
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT
count=0
failed=0

# report STATUS TEXT
report() {
    count=$((count + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $count - $2"
    else
        echo "not ok $count - $2"
        sed 's/^/# /' "$dir/log"
        failed=1
    fi
}

check() {
    python3 "$1/bench/results/render.py" --check >"$dir/log" 2>&1
}

check "$project"
report $? "the tables in README.md and bench/results are those of the measurements"

# The same in a copy, where a measurement and a text are changed.
mkdir -p "$dir"/{bench,tests}
cp -r "$project/bench/results" "$dir/bench" && cp "$project/README.md" "$dir" && cp "$project/tests/registers.txt" "$dir/tests"
json=$(find "$dir/bench/results" -name '*.json' ! -name '*.peers.json' ! -name '*.gpu.json' -print -quit)
sed -i 's/"ns_per_param": [0-9]/"ns_per_param": 77/' "$json"
check "$dir"
[ $? -eq 1 ] && grep -q '^README.md is not' "$dir/log" && grep -q "^$(basename "$json" .json).md is not" "$dir/log"
report $? "a measurement that changes makes the tables stale"
python3 "$dir/bench/results/render.py" && check "$dir"
report $? "render.py makes them anew"
sed -i 's/of the roof/of a roof/' "$dir/README.md"
! check "$dir"
report $? "a table that is changed by hand is found"

echo "1..$count"
exit $failed
