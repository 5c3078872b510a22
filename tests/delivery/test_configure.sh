#!/usr/bin/env bash
# The project is configured from any tree that holds its files, and the commit that its records name is the tree's own
# or "unknown". Arguments: the project's folder, cmake, its generator, the C compiler. Prints TAP.
set -u
project=$1 cmake=$2 generator=$3 compiler=$4
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$dir" || exit 2
unset GIT_DIR GIT_WORK_TREE
python=$(command -v python3)
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org

# configures FOLDER COMMIT TEXT [OPTION]...: that a build of the program alone is configured, and takes this for its
# commit; so does the comparison with peers, unless options hide git.
configures() {
    local tree=$1 expected=$2 text=$3 found status
    shift 3
    rm -rf built
    "$cmake" -S "$tree" -B built -G "$generator" -DCMAKE_C_COMPILER="$compiler" -DFUSEDOPT_CUDA=OFF \
        -DFUSEDOPT_TESTS=OFF -DFUSEDOPT_INSTALL=OFF "$@" >log 2>&1
    status=$?
    found=$(sed -n 's/^const char build_commit\[\] = "\(.*\)";$/\1/p' built/bench/commit.c 2>>log)
    echo "commit '$found', must be '$expected'" >>log
    if [ $# -eq 0 ] && [ -n "$python" ]; then
        PATH=$(dirname "$cmake"):$PATH PYTHONPATH=$tree/bench/peers "$python" -Bc 'import record; print(record.commit())' \
            >recorded 2>>log
        echo "peers' is '$(cat recorded)'" >>log
        [ "$(cat recorded)" = "$expected" ] || status=1
    fi
    [ $status -eq 0 ] && [ "$found" = "$expected" ] && ! grep -qE 'CMake (Warning|Error)|^fatal' log
    report $? "$text"
}

copy() { # the sources as an archive has them, into a folder
    mkdir -p "$1" && tar -C "$project" --exclude=./build --exclude=./.git -c . | tar -C "$1" -x
}

head_of() { # as the records write it
    git -C "$1" rev-parse --short=12 HEAD
}

copy plain
configures plain unknown "an archive"
copy 'a folder with spaces'
configures 'a folder with spaces' unknown "an archive in a path with spaces"

if ! command -v git >/dev/null; then
    skip "repositories" "git is not installed"
    finish
fi

git init -q around && copy around/vendor/fusedopt && git -C around commit -q --allow-empty -m outer
configures around/vendor/fusedopt unknown "an archive inside another repository"
git -C around add . && git -C around commit -q -m vendored
configures around/vendor/fusedopt unknown "a folder that another repository tracks"
git init -q untracked && copy untracked && git -C untracked commit -q --allow-empty -m other
configures untracked unknown "an archive at the top of a repository that does not track it"
GIT_DIR=$dir/around/.git configures plain unknown "an archive, where GIT_DIR names another repository"

git init -q own && copy own
configures own unknown "a repository without a commit"
git -C own add . && git -C own commit -q -m first
configures own "$(head_of own)" "a repository"
git -C own commit -q --allow-empty -m second
git -C own checkout -q --detach HEAD~1
configures own "$(head_of own)" "a detached HEAD"
rm -r own/.git/logs
configures own "$(head_of own)" "a repository without reflogs"
GIT_DIR=$dir/around/.git configures own "$(head_of own)" "a repository, where GIT_DIR names another one"
git -C own worktree add -q ../worktree HEAD && configures worktree "$(head_of worktree)" "a worktree"
git -c advice.detachedHead=false clone -q --depth 1 "file://$dir/own" 'shallow clone' &&
    configures 'shallow clone' "$(head_of 'shallow clone')" "a shallow clone in a path with spaces"
ln -s own link
configures link "$(head_of own)" "a symbolic link to a repository"
echo >>own/LICENSE
configures own "$(head_of own)-dirty" "a repository with a changed file"
git -C own checkout -q LICENSE
GIT_TEST_ASSUME_DIFFERENT_OWNER=1 configures own unknown "a repository of someone whom git does not trust"
configures own unknown "a repository on a machine without git" -DCMAKE_DISABLE_FIND_PACKAGE_Git=ON
configures own unknown "a repository and a git that cannot be run" -DGIT_EXECUTABLE="$dir/absent"
mv own/.git/HEAD own/.git/no-HEAD
configures own unknown "a broken repository"

finish
