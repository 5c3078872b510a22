#!/usr/bin/env bash
# Checkpoints and other programs: see test_safetensors.py. Argument: the program checkpoint_files. Prints TAP.
set -u
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
if ! command -v python3 >/dev/null; then
    skip "checkpoints and other programs" "python3 is not installed"
    finish
fi
PYTHONDONTWRITEBYTECODE=1 PYTHONIOENCODING=utf-8 python3 "$(dirname "$0")/test_safetensors.py" "$1" "$dir"
