#!/usr/bin/env bash
# Whether tests/count.awk counts what ctest prints: each program that dies or stops early, whatever else failed.
# Argument: the project's folder.
set -u
project=$1
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$dir" || exit 1

# Programs of the kinds that there are, run by the real ctest.
cat >CTestTestfile.cmake <<'END'
add_test(good "bash" "-c" "echo 1..3; echo ok 1 - a; echo ok 2 - b; echo 'ok 3 - c # SKIP no d'")
add_test(bad "bash" "-c" "echo 1..2; echo ok 1 - e; echo not ok 2 - f; echo '# because'; exit 1")
add_test(dies_at_once "bash" "-c" "kill -ABRT $$")
add_test(dies_amid "bash" "-c" "echo 1..4; echo ok 1 - g; kill -SEGV $$")
add_test(stops_early "bash" "-c" "echo 1..4; echo ok 1 - h")
add_test(fails_and_dies "bash" "-c" "echo 1..3; echo not ok 1 - i; kill -ABRT $$")
add_test(has_no_plan "bash" "-c" "echo ok 1 - k")
add_test(fails_and_has_none "bash" "-c" "echo not ok 1 - l; exit 1")
add_test(lies "bash" "-c" "echo 1..1; echo ok 1 - j; exit 1")
add_test(says_nothing "true")
add_test(hangs "bash" "-c" "echo 1..1; sleep 60")
set_tests_properties(hangs PROPERTIES TIMEOUT 1)
END
ctest --verbose -j 2 >log 2>&1
awk -v shm= -f "$project/tests/count.awk" log >out
status=$?

[ "$status" -eq 1 ]
report $? "a failure is told by the exit status"
[ "$(tail -n 1 out)" = "7 passed, 12 failed, 1 skipped" ]
report $? "each program that dies or stops early counts as a failure"
[ "$(grep -c 'died or did not finish' out)" -eq 9 ] &&
    grep -q '  dies_amid died .*: 1 of 4 tests, last: ok 1 - g' out &&
    grep -q '  hangs died .*Timeout' out && grep -q '  says_nothing died or did not finish (Passed): 0 of ? tests' out
report $? "and is named, with how far it came"
[ "$(grep -cE '^ *[0-9]+/11 [a-z_]+: [0-9]+ passed, ' out)" -eq 11 ]
report $? "a line tells of each program"
grep -q '^  not ok 2 - f' out && grep -q '^  # because' out && grep -q '^skipped, 1 times: no d' out
report $? "what failed is explained, and what was skipped"

awk -v shm='no space' -f "$project/tests/count.awk" log | grep -q '^/dev/shm cannot be written to.*no space'
report $? "a /dev/shm that cannot be written to is named as a reason"

grep -E '^[0-9]*:? ?(UpdateCTest|1: |.*#1: )' log >good.log
awk -v shm= -f "$project/tests/count.awk" good.log >out && [ "$(tail -n 1 out)" = "2 passed, 0 failed, 1 skipped" ]
report $? "what is good is good"
! awk -v shm= -f "$project/tests/count.awk" /dev/null >out
report $? "no test at all is a failure"
finish
