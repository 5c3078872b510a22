#!/usr/bin/env bash
# Tests what the program `fusedopt` writes besides JSON: plots, whole or not at all, and its standard output.
# Usage: test_program_files.sh PROGRAM. Prints TAP; exits 1 if a test failed.
set -u
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$dir" || exit 2

# ---- standard output ----

: >out
if [ -w /dev/full ]; then
    for arguments in help "help train" "bench -h" --version info "train --rule sgd --epochs 1" "verify --case 0" \
        "verify --case 0 --self-test" "bench --params 1024 --repeat 1 --rule sgd --formats bf16/bf16/f32" \
        "state --steps 100 --elements 4096"; do
        # shellcheck disable=SC2086
        "$program" $arguments >/dev/full 2>err
        status=$?
        [ "$status" -eq 1 ] && grep -q 'cannot write the output: ' err
        report $? "fusedopt $arguments fails where its output cannot be written"
    done
else
    skip "output that cannot be written" "no /dev/full"
fi
(ulimit -f 1 && "$program" verify --case 0 >/dev/null &&
    exec "$program" train --rule sgd --epochs 1 --seeds 1 >big 2>err) 2>>err
status=$?
[ "$status" -eq 0 ]
report $? "output of less than the largest size of a file is no error"
(ulimit -f 1 && exec "$program" bench --help >big 2>err) 2>>err # more than one kilobyte
status=$?
[ "$status" -eq 1 ] && grep -q 'cannot write the output: ' err
report $? "output beyond the largest size of a file is an error"
"$program" train --rule sgd --epochs 1 --json closed.json >&- 2>err
status=$?
[ "$status" -eq 1 ] && grep -q 'cannot write the output: ' err && ! grep -q '^rule' closed.json
report $? "a closed standard output is an error, and no file takes its place"

# ---- plots, whole or not at all ----

if ! command -v gnuplot >/dev/null; then
    skip "plots" "no gnuplot"
    finish
fi

mkdir plots fake
echo '<svg>of before</svg>' >plots/old.svg
cp plots/old.svg old.svg
as_it_was() { # whether the folder plots holds the old file alone
    [ "$(ls -A plots)" = old.svg ] && cmp -s old.svg plots/old.svg
}
train=(train --rule sgd --epochs 1 --plot plots/old.svg)
bench=(bench --repeat 1 --rule sgd --formats bf16/bf16/f32 --params 1024 --plot plots/old.svg)

# A gnuplot that draws as little as it is told to, after it was found to be there.
fake_gnuplot() {
    printf '#!/bin/sh\n[ "$1" = --version ] && exit 0\n%s\n' "$1" >fake/gnuplot
    chmod +x fake/gnuplot
}
drawing="echo '<?xml version=\"1.0\"?>'; echo '<svg>'; echo '<path/>'"
while read -r name body; do
    for command in train bench; do
        fake_gnuplot "${body/DRAWING/$drawing}"
        declare -n arguments=$command
        PATH=$dir/fake:$PATH run "${arguments[@]}"
        [ "$status" -eq 1 ] && grep -q 'gnuplot could not draw plots/old.svg' err && as_it_was
        report $? "$command leaves the old plot as it was after a gnuplot that ${name//_/ }"
    done
done <<'END'
draws_nothing exit 0
fails_at_once exit 1
fails_half-way DRAWING; exit 1
fails_at_the_end DRAWING; echo '</svg>'; exit 1
stops_half-way DRAWING; exit 0
dies_half-way DRAWING; kill -9 $$
dies_at_the_end DRAWING; echo '</svg>'; kill -9 $$
writes_something_else echo 'line 3: undefined variable </svg>'
END
for signal in INT TERM HUP; do
    fake_gnuplot "cat >/dev/null; $drawing; kill -$signal \$PPID; sleep 1; echo '</svg>'"
    status=0
    { (PATH=$dir/fake:$PATH exec "$program" "${train[@]}") >out 2>err || status=$?; } 2>/dev/null
    [ "$status" -gt 128 ] && as_it_was
    report $? "SIG$signal while gnuplot draws leaves the old plot as it was"
done

(ulimit -f 4 && exec "$program" train --rule sgd --epochs 3 --plot plots/old.svg) >out 2>err
status=$?
[ "$status" -eq 1 ] && as_it_was
report $? "a plot larger than a file may be leaves the old one as it was"
if [ -w /dev/full ]; then
    ln -s /dev/full full.svg
    run train --rule sgd --epochs 1 --plot full.svg
    [ "$status" -eq 1 ] && grep -q 'cannot write full.svg: ' err && [ -c /dev/full ]
    report $? "a plot that does not fit on its disk is an error"
fi
mkdir small
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=16k none small 2>/dev/null; then
    cp old.svg small/old.svg
    run train --epochs 20 --plot small/old.svg
    [ "$status" -eq 1 ] && grep -q 'No space left' err && [ "$(ls -A small)" = old.svg ] && cmp -s old.svg small/old.svg
    report $? "a full disk leaves the old plot as it was"
    umount small
else
    skip "a full disk leaves the old plot as it was" "no file system can be mounted"
fi
if command -v cc >/dev/null && printf '%s\n' '#include <signal.h>' 'int fsync(int file);' \
    'int fsync(int file) { return file < 0 ? -1 : raise(SIGTERM); }' | cc -shared -fPIC -o fsync.so -x c - 2>err; then
    ASAN_OPTIONS=verify_asan_link_order=0 LD_PRELOAD=$dir/fsync.so "$program" "${train[@]}" >out 2>err
    status=$?
    [ "$status" -eq 143 ] && as_it_was
    report $? "a signal while a plot is written leaves the old one as it was"
fi
TMPDIR=$dir/absent run train --rule sgd --epochs 1 --plot absent/new.svg
[ "$status" -eq 1 ] && grep -q 'cannot write absent/new.svg' err && [ ! -s out ]
report $? "a plot in a folder that is not there is refused before training"
ln -s nowhere/new.svg nowhere.svg
run train --rule sgd --epochs 1 --plot nowhere.svg
[ "$status" -eq 1 ] && grep -q 'cannot write nowhere.svg: No such file' err && [ ! -s out ] && [ -L nowhere.svg ]
report $? "a plot behind a symbolic link to nothing is refused before training, and the link is left"
run train --rule sgd --epochs 1 --plot "$(printf 'n%.0s' {1..300}).svg"
[ "$status" -eq 1 ] && grep -q 'File name too long' err && [ ! -s out ]
report $? "a plot whose name is too long is refused before training"
long=$(printf 'n%.0s' {1..251}).svg
run train --rule sgd --epochs 1 --plot "$long"
[ "$status" -eq 0 ] && grep -q '^</svg>' "$long"
report $? "a name may be as long as the file system lets it be"
for other in plots/new.svg ./plots/new.svg plots/../plots/new.svg; do
    run train --rule sgd --epochs 1 --plot plots/new.svg --json $other
    [ "$status" -eq 1 ] && grep -q -e '--json and --plot name the same file' err && [ ! -s out ] && as_it_was
    report $? "--plot plots/new.svg --json $other is refused before training"
done
run train --rule nothing --plot plots/new.svg
as_it_was
report $? "a command line that is wrong makes no plot"
chmod 640 plots/old.svg
ln -s plots/old.svg link.svg
run train --rule sgd --epochs 1 --plot link.svg
[ "$status" -eq 0 ] && [ ! -s err ] && [ -L link.svg ] && [ "$(ls -A plots)" = old.svg ] &&
    tail -n 2 plots/old.svg | grep -q '</svg>' &&
    [ "$(stat -c %a plots/old.svg)" = 640 ]
report $? "a plot is replaced behind a symbolic link, and keeps its mode"

# ---- what the plots show ----

if ! command -v python3 >/dev/null; then
    skip "what the plots show" "no python3 to read them"
    finish
fi
cat >read.py <<'END'
# Reads a plot: all its texts, and its curves: name -> (colour, dashes).
import re, subprocess, sys
import xml.etree.ElementTree as tree

def read(path):
    root = tree.parse(path).getroot()
    space = "{http://www.w3.org/2000/svg}"
    texts = ["".join(text.itertext()).strip() for text in root.iter(space + "text")]
    curves = {}
    for group in root.iter(space + "g"):
        if group.get("id", "").startswith("gnuplot_plot_"):
            for path in group.iter(space + "path"):
                if path.get("stroke"):
                    name = group.find(space + "title").text
                    curves.setdefault(name, (path.get("stroke"), path.get("stroke-dasharray")))
    return texts, curves

info = subprocess.run([sys.argv[1], "info"], stdout=subprocess.PIPE, text=True).stdout
cpu = re.search("^cpu: (.*)$", info, re.M).group(1).strip()
commit = re.search("^  commit +(.*)$", info, re.M).group(1)

def names_machine(texts):
    assert any(cpu in text and text.endswith("; commit " + commit) for text in texts), texts
END
export PYTHONPATH=$dir

run train --epochs 2 --seeds 2 --plot train.svg
[ "$status" -eq 0 ] && python3 - "$program" 2>>err <<'END'
from read import *
texts, curves = read("train.svg")
names_machine(texts)
assert any("loss" in text and "mean of 2 seeds" in text for text in texts), texts
assert len(curves) == 9 and len(set(curves.values())) == 9, curves
for name, (colour, dashes) in curves.items():
    rule, state = name.split()
    for other, (other_colour, other_dashes) in curves.items():
        assert (colour == other_colour) == (rule == other.split()[0]), (name, other)
        if "none" not in name + other:
            assert (dashes == other_dashes) == (state == other.split()[1]), (name, other)
END
report $? "the plot of train has title, machine and commit, a colour for each rule and a dash pattern for each format"

run bench --repeat 3 --params 2^10..2^12 --rule adam --rule sgd --rule momentum --formats f32/f32/f32 \
    --formats bf16/bf16/bf16 --formats bf16/bf16/q8 --plot bench.svg
[ "$status" -eq 0 ] && [ ! -s err ] && python3 - "$program" 2>>err <<'END'
from read import *
texts, curves = read("bench.svg")
names_machine(texts)
assert any("Throughput" in text for text in texts) and any("roof" in text and "step" in text for text in texts), texts
ours = {name: look for name, look in curves.items() if ":" in name and not name.endswith("roof")}
assert len(ours) >= 3 + 5 and len(set(ours.values())) == len(ours), ours
rows = [line.split() for line in open("out") if "/" in line and "%" in line]
marks = [row for row in rows if any(word.endswith("%!") for word in row)]
largest = [row for row in marks if row[3] == "4096"] # which the bars show
assert texts.count("!") == len(marks) + len(largest), (texts.count("!"), len(marks), len(largest))
assert any("middle half" in text for text in texts)
END
report $? "the plot of bench has title, machine and commit, no two curves alike, and the marks of the table"

# Error bars have ends: with one sample they are nothing, with more they are not.
paths() { # of the upright lines longer than a pixel
    python3 - "$1" <<'END'
import re, sys
upright = 0
for x, y, x2, y2 in re.findall(r"M([0-9.]+),([0-9.]+) L([0-9.]+),([0-9.]+)", open(sys.argv[1]).read()):
    upright += x == x2 and 1 < abs(float(y) - float(y2)) < 300
print(upright)
END
}
run bench --repeat 1 --params 1024,2048 --rule adam --plot one.svg
run bench --repeat 11 --params 1024,2048 --rule adam --plot many.svg
[ "$status" -eq 0 ] && [ "$(paths many.svg)" -gt "$(paths one.svg)" ]
report $? "the plot of bench shows the spread"

run train --rule sgd --epochs 2 --lr 1e9 --plot diverged.svg
[ "$status" -eq 0 ] && tail -n 2 diverged.svg | grep -q '</svg>'
report $? "a training that diverged is drawn, as far as it can be"

finish
