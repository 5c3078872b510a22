#!/usr/bin/env bash
# The Python package, but for PyTorch: under the first python3 that has NumPy, or is there. The environment variable
# PYTHON names another one.
# Arguments: the project's folder, the shared library.
set -u
project=$1 shared=$2
for module in numpy sys; do
    for python in ${PYTHON:-python3 /usr/bin/python3}; do
        command -v "$python" >/dev/null && "$python" -c "import $module" 2>/dev/null && break 2
    done
done
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "ok 1 - Python # SKIP no Python 3.10 or later"
elif nm -D "$shared" | grep -qE '__asan|__ubsan|__tsan'; then
    echo "ok 1 - Python # SKIP the library is instrumented"
else
    exec "$python" "$project/tests/delivery/test_python.py" "$project" "$shared"
fi
echo "1..1"
