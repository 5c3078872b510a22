#!/usr/bin/env bash
# The header and the README's example as an engine would use them: each language and compiler, both libraries; by the
# README's own lines, installed and moved elsewhere with find_package and pkg-config, and by add_subdirectory.
# Arguments: the project's folder, its build folder, the static library, the shared library, CUDA's compiler, the folder
# of its headers and that of its libraries ("none" without CUDA), what the static library needs to be linked with.
set -u
project=$1 build=$2 static=$3 shared=$4 nvcc=$5 cuda_include=$6 cuda_lib=$7
needs=("${@:8}")
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
awk '/^```c$/ { on = 1; next } /^```$/ { if (on) exit } on' "$project/README.md" >"$dir/example.c"
expected=$(sed -n '/^It prints `/ { s/^It prints `\(.*\)`\..*/\1/p; q }' "$project/README.md")
cp "$dir/example.c" "$dir/example.cc"
echo '#include "fusedopt.h"' >"$dir/header.c"
cp "$dir/header.c" "$dir/header.cc"

runs() { # programs
    for program in "$@"; do
        output=$("$program") && echo "$program prints: $output" && [ "$output" = "$expected" ] || return 1
    done
}

header() { # source, compiler, options
    "$2" "${@:3}" -Wall -Wextra -Wpedantic -Wconversion -Werror -fsyntax-only -I"$project/include" "$dir/$1" \
        >"$dir/log" 2>&1
    report $? "the header alone: ${*:2}"
}

example() { # text, compiler, source, the rest of the line
    {
        "$2" -Wall -Wextra -Wno-missing-field-initializers -Wpedantic -Werror "$dir/$3" "${@:4}" -o "$dir/example" &&
            runs "$dir/example"
    } >"$dir/log" 2>&1
    report $? "the README's example: $2 $1"
}

[ -n "$expected" ] && [ -s "$dir/example.c" ]
report $? "the README has the example and what it prints"

# A library with a sanitizer in it asks that of its users.
if nm "$static" 2>/dev/null | grep -qE '__asan|__tsan'; then
    skip "embedding" "the library is instrumented"
    finish
fi

# ---- installed, in a tree that is then moved ----

{
    cmake --install "$build" --prefix "$dir/first" && mv "$dir/first" "$dir/moved" &&
        ! grep -rlF "$dir" "$dir/moved"
} >"$dir/log" 2>&1
report $? "cmake --install"
{
    cmp "$project/LICENSE" "$dir/moved/share/doc/fusedopt/LICENSE" &&
        { [ ! -e "$build/fusedopt" ] || {
            [ "$("$dir/moved/bin/fusedopt" --version)" = "fusedopt $(cat "$dir"/moved/lib*/pkgconfig/fusedopt.pc \
                "$dir"/moved/lib*/*/pkgconfig/fusedopt.pc 2>/dev/null | sed -n 's/^Version: //p')" ] &&
                cmp "$build/fusedopt.1" "$dir/moved/share/man/man1/fusedopt.1"
        }; }
} >"$dir/log" 2>&1
report $? "it has the license, the program and its manual page"
config=$(dirname "$(find "$dir/moved" -name fusedopt-config.cmake)")
libdir=$(dirname "$(find "$dir/moved" -name libfusedopt.a)")
export PKG_CONFIG_PATH=$libdir/pkgconfig

# Projects of C alone and of C++ alone, since a dependency may want the other one.
find_package() { # C or CXX, compiler, source, standards
    local folder=$dir/package
    rm -rf "$folder"
    mkdir "$folder"
    {
        echo "cmake_minimum_required(VERSION 3.22)
project(engine LANGUAGES $1)
find_package(fusedopt 0.1 REQUIRED)"
        for standard in "${@:4}"; do
            for library in fusedopt fusedopt_shared; do
                echo "add_executable(${library}_$standard ../$3)
set_target_properties(${library}_$standard PROPERTIES $1_STANDARD $standard $1_STANDARD_REQUIRED ON)
target_link_libraries(${library}_$standard PRIVATE fusedopt::$library)"
            done
        done
    } >"$folder/CMakeLists.txt"
    {
        cmake -S "$folder" -B "$folder/build" -D"CMAKE_$1_COMPILER=$2" -Dfusedopt_DIR="$config" &&
            cmake --build "$folder/build" && runs "$folder"/build/fusedopt_*[0-9]
    } >"$dir/log" 2>&1
    report $? "the README's example: find_package, $1 ${*:4}, $2, both libraries"
}

with_pkgconfig() { # compiler, source, standard
    local flags
    if ! command -v pkg-config >/dev/null; then
        skip "$1 $3, pkg-config" "pkg-config is not installed"
        return
    fi
    eval "flags=($(pkg-config --cflags --libs fusedopt))" # it quotes as for a shell
    example "$3, pkg-config" "$1" "$2" "$3" "${flags[@]}" "-Wl,-rpath,$libdir"
    if [[ " ${needs[*]}" == *libomp* ]]; then
        skip "$1 $3, pkg-config --static" "libomp has no static library"
        return
    fi
    # The linker warns of dlopen() in a static program.
    eval "flags=($(pkg-config --static --cflags --libs fusedopt))"
    example "$3 -static, pkg-config --static" "$1" "$2" "$3" -static "${flags[@]}"
}

for compiler in gcc clang g++ clang++; do
    case $compiler in
    *++) language=CXX source=cc standards=(11 17) prefix=-std=c++ ;;
    *) language=C source=c standards=(99 11) prefix=-std=c ;;
    esac
    if ! command -v $compiler >/dev/null; then
        skip "$compiler" "$compiler is not installed"
        continue
    fi
    for standard in "${standards[@]}"; do
        header header.$source $compiler "$prefix$standard"
        for library in "$static" "$shared"; do
            rest=(-lm "${needs[@]}")
            [ "$library" = "$static" ] || rest=("-Wl,-rpath,$(dirname "$shared")")
            example "$prefix$standard with $(basename "$library")" $compiler example.$source "$prefix$standard" \
                -I"$project/include" "$library" "${rest[@]}"
        done
        with_pkgconfig $compiler example.$source "$prefix$standard"
    done
    find_package $language $compiler example.$source "${standards[@]}"
done

# ---- the companion ----

# The header alone, and the example with the installed libraries.
checkpoint() { # text, compiler, options
    (cd "$dir" && rm -f saves && "$2" "${@:3}" "$project/examples/checkpoint.c" "${flags[@]}" -o saves &&
        [ "$(./saves | head -n 1)" = "resumed: the same bits" ]) >"$dir/log" 2>&1
    report $? "the companion: $1, $2"
}
if [ ! -e "$libdir/libfusedopt_checkpoint.a" ]; then
    skip "the companion" "it is built without jansson"
else
    echo '#include "fusedopt_checkpoint.h"' >"$dir/companion.c"
    cp "$dir/companion.c" "$dir/companion.cc"
    header companion.c cc -std=c99
    header companion.cc c++ -std=c++11
    if ! command -v pkg-config >/dev/null; then
        skip "the companion: pkg-config" "pkg-config is not installed"
    else
        eval "flags=($(pkg-config --cflags --libs fusedopt_checkpoint))"
        flags+=("-Wl,-rpath,$libdir")
        checkpoint pkg-config cc -std=c99
        if [[ " ${needs[*]}" == *libomp* ]]; then
            skip "the companion: pkg-config --static" "libomp has no static library"
        else
            eval "flags=($(pkg-config --static --cflags --libs fusedopt_checkpoint))"
            checkpoint "pkg-config --static" cc -static
        fi
    fi
    ldd "$libdir/libfusedopt_checkpoint.so" >"$dir/log" 2>&1 && grep -q "libfusedopt.so.* => $dir/moved/" "$dir/log"
    report $? "the companion: its shared library finds the other one beside it"
    mkdir "$dir/companion"
    cat >"$dir/companion/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.22)
project(engine LANGUAGES C)
find_package(fusedopt REQUIRED COMPONENTS checkpoint)
find_package(fusedopt OPTIONAL_COMPONENTS others)
foreach(library fusedopt_checkpoint fusedopt_checkpoint_shared)
  add_executable(\${library} "$project/examples/checkpoint.c")
  target_link_libraries(\${library} PRIVATE fusedopt::\${library})
endforeach()
END
    {
        cmake -S "$dir/companion" -B "$dir/companion/build" -Dfusedopt_DIR="$config" &&
            cmake --build "$dir/companion/build" && cd "$dir" &&
            for library in fusedopt_checkpoint fusedopt_checkpoint_shared; do
                [ "$("companion/build/$library" | head -n 1)" = "resumed: the same bits" ] || exit 1
            done
    } >"$dir/log" 2>&1
    report $? "the companion: find_package, both libraries"
    sed -i 's/COMPONENTS checkpoint/COMPONENTS absent/' "$dir/companion/CMakeLists.txt"
    ! cmake -S "$dir/companion" -B "$dir/companion/none" -Dfusedopt_DIR="$config" >"$dir/log" 2>&1 &&
        grep -q 'installed without the component absent' "$dir/log"
    report $? "a component that is not there is told by its name"
fi

# ---- the loader's list of libraries ----

# A loader that looks in the folder $dir/there/lib*; its ldconfig tells, and makes the list when nothing is asked of it.
mkdir "$dir/loader"
cat >"$dir/loader/ldconfig" <<END
#!/bin/sh
[ \$# -gt 0 ] || echo made >>"$dir/list"
case "\$*" in *-v*) echo "${libdir/#"$dir/moved"/"$dir/there"}: (from a list)" ;; esac
END
chmod +x "$dir/loader/ldconfig"
installs() { # the prefix
    rm -f "$dir/list"
    PATH=$dir/loader:$PATH cmake --install "$build" --prefix "$1" >"$dir/log" 2>&1
}
installs "$dir/there" && [ -e "$dir/list" ] && grep -q '^-- The loader finds the shared library in ' "$dir/log"
report $? "an installation where the loader looks tells it so"
installs "$dir/elsewhere" && [ ! -e "$dir/list" ] &&
    grep -q "^-- The loader does not find .*-Wl,-rpath,$dir/elsewhere/lib" "$dir/log"
report $? "elsewhere it says what to link with"
DESTDIR=$dir/stage installs "$dir/there" && [ ! -e "$dir/list" ] && ! grep -q 'loader' "$dir/log"
report $? "a staged tree is left alone"

# ---- the README's lines ----

# Where they are run everything is called as it is there.
mkdir -p "$dir/line/build"
ln -s "$project/include" "$dir/line/include"
ln -s "$(dirname "$static")" "$dir/line/build/library"
cp "$dir/example.c" "$dir/line"
cat >"$dir/line/engine.rs" <<'END'
use std::os::raw::{c_int, c_void};
use std::ptr;

extern "C" {
    fn fopt_create(config: *const c_void, groups: *const c_void, group_count: usize, tensors: *const c_void,
                   tensor_count: usize, out: *mut *mut c_void) -> c_int;
    fn fopt_step(optimizer: *mut c_void, options: *const c_void, stream: *mut c_void) -> c_int;
    fn fopt_destroy(optimizer: *mut c_void);
}

fn main() {
    let mut optimizer = ptr::null_mut();
    unsafe {
        let created = fopt_create(ptr::null(), ptr::null(), 0, ptr::null(), 0, &mut optimizer);
        let stepped = fopt_step(optimizer, ptr::null(), ptr::null_mut());
        fopt_destroy(optimizer);
        println!("{} {}", created, stepped);
    }
}
END
# What a library with CUDA needs besides, as the README says it, with this machine's folder.
besides=
if [ "$nvcc" != none ]; then
    besides=$(grep -oE -m 1 -e '-L/usr/local/cuda/lib64 -lcudart_static[^`]*' "$project/README.md" |
        sed "s|/usr/local/cuda/lib64|'$cuda_lib'|")
fi

# line BEGINNING PRINTS BESIDES: runs the line of the README that begins so, with BESIDES at its end, and what it makes.
line() {
    local text
    text=$(sed -n "s/^    \($1.*\)/\1/p" "$project/README.md" | head -n 1)
    (cd "$dir/line" && rm -f example engine && bash -euc "$text $3" && [ -n "$text" ] &&
        [ "$(if [ -e example ]; then ./example; else ./engine; fi)" = "$2" ]) \
        >"$dir/log" 2>&1
    report $? "the README's line: ${text:-$1}"
}
rustc=$(PATH=$PATH:$HOME/.cargo/bin command -v rustc)
if [[ "${needs[*]}" == *libomp* ]]; then
    skip "the README's lines" "the library is built with libomp, and they are for libgomp"
else
    line 'cc -Iinclude' "$expected" "$besides"
    if [ "$nvcc" = none ]; then
        skip "the README's line: nvcc" "CUDA's compiler is not used"
    else
        PATH=$(dirname "$nvcc"):$PATH line nvcc "$expected" ''
    fi
    if [ -z "$rustc" ]; then
        skip "the README's line: rustc" "rustc is not installed"
    else
        PATH=$(dirname "$rustc"):$PATH line rustc '0 0' "$besides"
    fi
fi
# The examples' own lines; graph.c is only built, since it needs a GPU to run.
cp -r "$project/examples" "$dir/line"
if [[ "${needs[*]}" != *libomp* ]]; then
    if [ ! -e "${static%.a}_checkpoint.a" ]; then
        skip "examples/checkpoint.c" "the library is built without jansson"
    else
        text=$(sed -n 's/^ \*     \(cc .*\) && .*/\1/p' "$project/examples/checkpoint.c")
        (cd "$dir/line" && bash -euc "$text $besides" && [ "$(./a.out | head -n 1)" = "resumed: the same bits" ]) \
            >"$dir/log" 2>&1
        report $? "examples/checkpoint.c: ${text:-no line}"
    fi
    text=$(sed -n 's/^ \*     \(nvcc .*\) && .*/\1/p' "$project/examples/graph.c")
    if [ "$nvcc" != none ]; then
        (cd "$dir/line" && PATH=$(dirname "$nvcc"):$PATH bash -euc "$text" && [ -n "$text" ]) >"$dir/log" 2>&1
        report $? "examples/graph.c: ${text:-no line}"
    fi
fi
# Installed where compiler and loader look by themselves, and where they do not.
C_INCLUDE_PATH=$dir/moved/include LIBRARY_PATH=$libdir LD_LIBRARY_PATH=$libdir line 'cc example.c -l' "$expected" ''
if ! command -v pkg-config >/dev/null; then
    skip "the README's line: pkg-config" "pkg-config is not installed"
elif [[ $libdir == *" "* ]]; then
    skip "the README's line: pkg-config" "a shell cannot split what pkg-config says of a folder with a space"
else
    line 'cc example.c $(pkg-config' "$expected" ''
fi

# ---- in a project of the engine's ----

# Settings that would change the library if it let them, and a look at all that it leaves in the parent.
mkdir "$dir/engine"
cat >"$dir/engine/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.22)
project(engine VERSION 1.0 LANGUAGES C)
set(BUILD_SHARED_LIBS ON)
set(CMAKE_UNITY_BUILD ON)
set(CMAKE_C_STANDARD 99)
get_cmake_property(before VARIABLES)
add_subdirectory("$project" fusedopt)
get_cmake_property(after VARIABLES)
list(REMOVE_ITEM after \${before} before)
list(FILTER after EXCLUDE REGEX "^(FUSEDOPT_|fusedopt_|OpenMP_|FIND_PACKAGE_MESSAGE_DETAILS_OpenMP)")
get_property(targets DIRECTORY "$project" PROPERTY BUILDSYSTEM_TARGETS)
list(FILTER targets EXCLUDE REGEX "^fusedopt")
if(after OR targets)
  message(FATAL_ERROR "left behind: variables '\${after}', targets '\${targets}'")
endif()
foreach(library fusedopt fusedopt_shared)
  add_executable(engine_\${library} ../example.c)
  target_link_libraries(engine_\${library} PRIVATE fusedopt::\${library})
endforeach()
END
{
    cmake -S "$dir/engine" -B "$dir/engine/build" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O1 \
        -DFUSEDOPT_CUDA=OFF &&
        cmake --build "$dir/engine/build" -j 2 && runs "$dir"/engine/build/engine_fusedopt{,_shared} &&
        cmake --install "$dir/engine/build" --prefix "$dir/nothing" && [ ! -e "$dir/nothing" ]
} >"$dir/log" 2>&1
report $? "the README's example: add_subdirectory, which leaves nothing behind"

# ---- beside CUDA's runtime ----

# The example needs none of it; these use the one that is linked statically, a shared one, or both.
if [ "$cuda_include" = none ]; then
    skip "beside CUDA's runtime" "the library is built without CUDA"
    finish
fi
cat >"$dir/runtime.c" <<'END'
#include "fusedopt.h"
#include <cuda_runtime_api.h>
#include <stdio.h>

int main(void)
{
    int devices = 0, count = -1, version = 0;
    cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess && error != cudaErrorNoDevice && error != cudaErrorInsufficientDriver)
        return 1;
    cudaGetLastError();
    if (cudaRuntimeGetVersion(&version) != cudaSuccess || version != CUDART_VERSION)
        return 1;
    if (fopt_device_count(FOPT_CUDA, &count) != FOPT_OK)
        return 1;
    printf("%d\n", count - devices);
    return 0;
}
END
expected=0
runtime() { # text, the rest of the line
    {
        gcc -Wall -Wextra -Werror -I"$project/include" -isystem "$cuda_include" "$dir/runtime.c" "${@:2}" \
            "-Wl,-rpath,$cuda_lib:$(dirname "$shared")" -o "$dir/runtime" && runs "$dir/runtime"
    } >"$dir/log" 2>&1
    report $? "in a program that uses CUDA's runtime itself: $1"
}
runtime "the static one, with the static library" "$static" "${needs[@]}"
runtime "the static one, with the shared library" "$shared" "${needs[@]}"
if [ -e "$cuda_lib/libcudart.so" ]; then
    runtime "the shared one, with the static library" "$static" "-L$cuda_lib" -lcudart "${needs[@]}"
    runtime "the shared one, with the shared library" "$shared" "-L$cuda_lib" -lcudart
else
    skip "the shared runtime" "there is no libcudart.so"
fi
finish
