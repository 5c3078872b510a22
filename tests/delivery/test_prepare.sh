#!/usr/bin/env bash
# .ci/prepare.sh on machines that lack things: which packages it installs, when it goes on without them, and when not.
# Argument: the project's folder. Prints TAP.
set -u
project=$1
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
bash=$(command -v bash)

# program NAME LINE...: a program of the machine, in sh.
program() {
    printf '%s\n' '#!/bin/sh' "${@:2}" >"$dir/bin/$1"
    chmod +x "$dir/bin/$1"
}

# machine UID: has all tools, no package but those in $dir/installed, and a package manager that installs into that list
# what is in $dir/archive. It logs its calls in $dir/calls. The programs are sh's built-in commands and cat alone.
machine() {
    local tool
    rm -rf "${dir:?}/bin" "$dir/calls"
    mkdir "$dir/bin"
    printf '' >"$dir/installed"
    printf ' %s ' build-essential cmake gnuplot-nox >"$dir/archive"
    for tool in cc make cmake; do
        program $tool
    done
    ln -s "$(command -v cat)" "$(command -v env)" "$dir/bin"
    program id "echo $1"
    program dpkg-query 'for package; do :; done' \
        "case \"\$(cat '$dir/installed')\" in *\" \$package \"*) echo installed ;; *) exit 1 ;; esac"
    program apt-cache "case \"\$(cat '$dir/archive')\" in *\" \$2 \"*) ;; *) exit 1 ;; esac"
    program apt-get "echo \"apt-get \$*\" >>'$dir/calls'" \
        "case \"\$*\" in *install*) printf ' %s ' \"\$@\" >>'$dir/installed' ;; esac"
    program sudo 'exit 1'
}

# prepares PACKAGE...: its exit status, with what it says in the log.
prepares() {
    PATH=$dir/bin "$bash" -euo pipefail -c '. "$0"; prepare "$@"' "$project/.ci/prepare.sh" "$@" >"$dir/log" 2>&1
}

machine 0
prepares build-essential cmake && grep -q 'install.* build-essential cmake$' "$dir/calls" &&
    ! grep -q 'please' "$dir/log"
report $? "root: what is missing is installed"

prepares build-essential cmake && [ "$(grep -c install "$dir/calls")" -eq 1 ] && [ ! -s "$dir/log" ]
report $? "then there is nothing to do or to say"

machine 0
prepares cmake libnowhere-dev && grep -q 'install.* cmake$' "$dir/calls" &&
    grep -q 'install .* libnowhere-dev$' "$dir/log"
report $? "a package that the release does not have: the others are installed, and it goes on"

machine 0
program apt-get 'echo "cannot reach the archive" >&2' 'exit 100'
prepares cmake gnuplot-nox && grep -q '    sudo apt-get install .* cmake gnuplot-nox$' "$dir/log"
report $? "no network: it says how to install them, and goes on"

machine 1000
prepares gnuplot-nox && [ ! -e "$dir/calls" ] && grep -q 'sudo apt-get install .* gnuplot-nox$' "$dir/log"
report $? "a user who may not install: the same, and nothing is tried"

machine 1000
program sudo 'while [ "$1" = -n ]; do shift; done' '[ "$1" = true ] || "$@"'
prepares gnuplot-nox && grep -q 'install.* gnuplot-nox$' "$dir/calls" && ! grep -q 'please' "$dir/log"
report $? "sudo without a password: it is installed"

machine 1000
rm "$dir"/bin/{id,dpkg-query,apt-get,apt-cache,sudo}
prepares gnuplot-nox && [ ! -s "$dir/log" ]
report $? "a system without dpkg: it goes on"

for tool in cc make cmake; do
    machine 1000
    rm "$dir/bin/$tool"
    ! prepares gnuplot-nox && [ "$(grep -c 'Nothing can be built without' "$dir/log")" -eq 1 ]
    report $? "no $tool: it fails and says so"
done

machine 1000
rm "$dir"/bin/{cc,make}
program clang
program ninja
prepares gnuplot-nox
report $? "clang and ninja are enough too"

# why_not FOLDER
why_not() {
    # shellcheck source=../../.ci/prepare.sh
    (. "$project/.ci/prepare.sh" && why_not_written "$1") >"$dir/log" 2>&1
}
mkdir "$dir/folder"
why_not "$dir/folder" && [ ! -s "$dir/log" ] && [ -z "$(ls -A "$dir/folder")" ]
report $? "a folder that can be written to: nothing is said"
why_not "$dir/absent" && grep -q 'No such file' "$dir/log"
report $? "one that is not there: it says so"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=16k none "$dir/folder" 2>/dev/null; then
    why_not "$dir/folder" && grep -q 'No space left' "$dir/log" && [ -z "$(ls -A "$dir/folder")" ]
    report $? "one that is full: it says so"
    umount "$dir/folder"
else
    skip "one that is full: it says so" "no file system can be mounted"
fi

finish
