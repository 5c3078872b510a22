#!/usr/bin/env bash
# Whether README.md and bench/results/*.md say what was measured. Argument: the project's folder. Prints TAP.
set -u
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
project=$1
if ! command -v python3 >/dev/null; then
    skip "the tables are those of the measurements" "no python3"
    finish
fi

renders() {
    python3 "$1/bench/results/render.py" --check >"$dir/log" 2>&1
}

renders "$project"
report $? "the tables in README.md and bench/results are those of the measurements"

# The same in a copy, where a measurement and a text are changed.
mkdir -p "$dir"/{bench,tests}
cp -r "$project/bench/results" "$dir/bench" && cp "$project/README.md" "$dir" &&
    cp "$project/tests/registers.txt" "$dir/tests"
json=$(find "$dir/bench/results" -name '*.json' ! -name '*.peers.json' ! -name '*.gpu.json' ! -name 'state.*' \
    -print -quit)
sed -i 's/"ns_per_param": [0-9]/"ns_per_param": 77/' "$json"
renders "$dir"
[ $? -eq 1 ] && grep -q '^README.md is not' "$dir/log" && grep -q "^$(basename "$json" .json).md is not" "$dir/log"
report $? "a measurement that changes makes the tables stale"
cp -r "$dir/bench" "$dir/before"
! (ulimit -f 4 && exec python3 -B "$dir/bench/results/render.py") >"$dir/log" 2>&1 &&
    diff -r "$dir/before" "$dir/bench" >>"$dir/log"
report $? "where files may not grow, the old ones are left as they were"
sed -i '0,/"gain": [01]/s//"gain": 7/' "$dir/bench/results/state.json" # of the first row
renders "$dir"
[ $? -eq 1 ] && grep -q '^state.md is not' "$dir/log"
report $? "so does one of the formats of moments"
sed -i '0,/"error": 0/s//"error": 1/' "$dir/bench/results/state.few_bits.json"
renders "$dir"
[ $? -eq 1 ] && grep -q '^four_bits.md is not' "$dir/log"
report $? "so does one of the formats of few bits"
python3 "$dir/bench/results/render.py" && renders "$dir"
report $? "render.py makes them anew"
sed -i 's/of the roof/of a roof/' "$dir/README.md"
! renders "$dir"
report $? "a table that is changed by hand is found"

finish
