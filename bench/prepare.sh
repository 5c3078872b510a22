# Sourced by bench/run, tests/run and .ci/run from the top of the project.
# prepare PACKAGE...: sees to it that these Debian packages are there. Installs them where it may (root, or sudo without
# a password); elsewhere it prints the line to run. On a system without dpkg it leaves the search to CMake.
prepare() {
    command -v dpkg-query >/dev/null || return 0
    local missing=() package as_root=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo -n)
        if ! sudo -n true 2>/dev/null; then
            echo "These packages are missing. Please run:" >&2
            echo "    sudo apt-get install --no-install-recommends ${missing[*]}" >&2
            return 1
        fi
    fi
    echo "Installing ${missing[*]}" >&2
    "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# What the library, the program and its plots need; the tests need more.
build_packages=(build-essential cmake ninja-build libjansson-dev libopenblas-dev gnuplot-nox)
test_packages=(pkg-config libcriterion-dev doxygen python3 python3-numpy)

# build PRESET: configures and builds.
build() {
    cmake --preset "$1" && cmake --build --preset "$1"
}
