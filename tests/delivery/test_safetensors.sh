#!/usr/bin/env bash
# Checkpoints and other programs, under the first python3 that has safetensors, or is there: see test_safetensors.py. The
# environment variable PYTHON names another one. Argument: the program checkpoint_files. Prints TAP.
set -u
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
for module in safetensors sys; do
    for python in ${PYTHON:-python3 /usr/bin/python3}; do
        command -v "$python" >/dev/null && "$python" -c "import $module" 2>/dev/null && break 2
    done
done
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    skip "checkpoints and other programs" "no Python 3.10 or later"
    finish
fi
PYTHONDONTWRITEBYTECODE=1 PYTHONIOENCODING=utf-8 "$python" "$(dirname "$0")/test_safetensors.py" "$1" "$dir"
