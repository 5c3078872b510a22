# Sourced from the top of the project by all scripts that build it: bench/run, tests/run, .ci/run and others.
# prepare PACKAGE...: installs those of these Debian packages that are missing, where that may be done without asking
# (root, or sudo without a password). Where it cannot be, it says what is missing, and goes on: most of them are
# optional, and CMake says what is left out without them. Fails only where nothing can be built at all.
prepare() {
    local missing=()
    list_missing "$@"
    if [ ${#missing[@]} -gt 0 ]; then
        install_missing
        list_missing "${missing[@]}"
    fi
    if [ ${#missing[@]} -gt 0 ]; then
        echo "These packages are not installed, and could not be. To have all that they are for, please run:" >&2
        echo "    sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    fi
    have_tools
}

# Sets `missing` to those of the packages that are not installed; to none on a system without dpkg.
list_missing() {
    local package
    missing=()
    command -v dpkg-query >/dev/null || return 0
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
}

# Tries to install what `missing` lists, and of it what this release has. Without a network it gives up soon.
install_missing() {
    local as_root=() known=() package
    local apt=(apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20)
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || return 0
        as_root=(sudo -n)
    fi
    "${as_root[@]}" "${apt[@]}" update >/dev/null 2>&1 || true
    for package in "${missing[@]}"; do
        if apt-cache show "$package" >/dev/null 2>&1; then
            known+=("$package")
        fi
    done
    [ ${#known[@]} -gt 0 ] || return 0
    echo "Installing ${known[*]}" >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        "${apt[@]}" install -y --no-install-recommends "${known[@]}" >/dev/null || true
}

# Whether there are a C compiler, CMake, and a program that builds what CMake configures.
have_tools() {
    local tool lacking=()
    command -v "${CC:-cc}" >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null ||
        lacking+=("a C compiler")
    command -v make >/dev/null || command -v ninja >/dev/null || lacking+=("make or ninja")
    command -v cmake >/dev/null || lacking+=("cmake, 3.22 or newer")
    for tool in "${lacking[@]}"; do
        echo "Nothing can be built without $tool" >&2
    done
    [ ${#lacking[@]} -eq 0 ]
}

# What the library needs (the first two), the program and its plots can use; the tests can use more.
build_packages=(build-essential cmake libjansson-dev libopenblas-dev gnuplot-nox)
test_packages=(pkg-config libcriterion-dev doxygen groff-base python3 python3-numpy python3-venv)

# why_not_written FOLDER: says why, if it cannot be written to, or is full.
why_not_written() {
    local file
    file=$(mktemp -p "$1" 2>&1) || { echo "$file"; return; }
    { head -c 1M /dev/zero >"$file"; } 2>&1 || true
    rm "$file"
}

# build PRESET [TARGET]: configures and builds, on all cores.
build() {
    # CMake's own choice is make.
    command -v make >/dev/null || export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
    cmake --preset "$1" && cmake --build --preset "$1" --parallel "$(nproc)" ${2:+--target "$2"}
}
