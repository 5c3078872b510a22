#!/usr/bin/env bash
# fusedopt.torch, under the first python3 that has PyTorch. The environment variable PYTHON names another one.
# Arguments: the project's folder, the shared library.
set -u
project=$1 shared=$2
for python in ${PYTHON:-python3 /usr/bin/python3}; do
    command -v "$python" >/dev/null && "$python" -c "import torch.optim" 2>/dev/null && break
    python=
done
if [ -z "$python" ]; then
    echo "ok 1 - fusedopt.torch # SKIP no python3 with PyTorch: see the README"
elif nm -D "$shared" | grep -qE '__asan|__ubsan|__tsan'; then
    echo "ok 1 - fusedopt.torch # SKIP the library is instrumented"
else
    exec "$python" "$project/tests/delivery/test_torch.py" "$project" "$shared"
fi
echo "1..1"
