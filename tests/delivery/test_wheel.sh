#!/usr/bin/env bash
# `pip install .`: the wheel, installed into a fresh virtual environment and used elsewhere. The environment variable
# PYTHON names another python3.
# Argument: the project's folder.
set -u
project=$1
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$dir" || exit 1
unset FUSEDOPT_LIBRARY PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_RETRIES=0 PIP_TIMEOUT=10

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    skip "the wheel" "no Python 3.10 or later"
    finish
fi
if ! "$python" -m venv builder >log 2>&1; then
    skip "the wheel" "no virtual environments: python3-venv is not installed"
    finish
fi
if ! builder/bin/pip install -q "scikit-build-core>=0.11" >log 2>&1; then
    skip "the wheel" "scikit-build-core cannot be had"
    finish
fi

# Not in the project's folder, and without CUDA: nvcc takes minutes.
builder/bin/pip wheel -q --no-build-isolation --no-deps -w . -Cbuild-dir="$dir/build" -Ccmake.define.FUSEDOPT_CUDA=OFF \
    "$project" >log 2>&1 && [ "$(echo fusedopt-*.whl | wc -w)" -eq 1 ]
report $? "the wheel is built"
wheel=$(echo fusedopt-*-py3-none-*.whl)
[ -f "$wheel" ] || finish
builder/bin/python - "$wheel" "$project/include/fusedopt.h" >log 2>&1 <<'END'
import re
import sys
import zipfile

wheel = zipfile.ZipFile(sys.argv[1])
files = {name.rpartition("/")[2]: name for name in wheel.namelist()}
text = wheel.read(files["METADATA"]).decode()
version = ".".join(re.findall(r"#define FOPT_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", open(sys.argv[2]).read()))
for line in (f"Version: {version}", "Provides-Extra: torch", "License-Expression: MIT", "Requires-Python: >=3.10"):
    assert line in text.splitlines(), line
for name in ("libfusedopt.so", "py.typed", "__main__.py", "torch.py"):
    assert files[name] == f"fusedopt/{name}", name
folders = {name.partition("/")[0] for name in wheel.namelist()}
assert folders == {"fusedopt", f"fusedopt-{version}.dist-info"}, folders
END
report $? "it has the package, the library and the license, and nothing else"

"$python" -m venv fresh >log 2>&1 && fresh/bin/pip install -q --no-index "$wheel" >>log 2>&1
report $? "it installs into a fresh virtual environment"
cd / && "$dir/fresh/bin/python" -m fusedopt >"$dir/out" 2>"$dir/err" &&
    grep -q "^  library  *$dir/fresh/.*/fusedopt/libfusedopt.so$" "$dir/out"
report $? "python -m fusedopt finds its library"
"$dir/fresh/bin/python" - >"$dir/log" 2>&1 <<'END'
import array
import fusedopt

w, g = array.array("f", [1, 2]), array.array("f", [1, -1])
fusedopt.Optimizer([w], [g], rule="adam", lr=0.5).step()
assert [round(x, 5) for x in w] == [0.5, 2.5], w
try:
    fusedopt.torch
except ImportError as error:
    assert "torch" in str(error), error
END
report $? "and makes a step"
finish
