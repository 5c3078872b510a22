#!/bin/sh
# Writes the manual page of the program fusedopt, fusedopt(1), made from what it says of itself. Arguments: the program,
# the page.
set -e
folder=$(dirname "$0")
version=$("$1" --version)
commands=$("$1" --help | sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p')
{
    echo "@title $version"
    "$1" --help
    for command in $commands; do
        echo "@command $command"
        "$1" "$command" --help
    done
} >"$2.help"
awk -f "$folder/man.awk" "$2.help" >"$2"
rm "$2.help"
