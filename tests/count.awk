# What `ctest --verbose` says, read as it comes: a line for each program as it ends, what failed, and a last line that
# counts tests. A program that dies, or ends before its plan does or without one, counts as one that failed. Exits with
# 1 if any did.

function report(number, name, result, seconds,    seen, dead) {
    seen = passed[number] + failed[number] + skipped[number]
    dead = seen == 0 || plan[number] == "" || seen < plan[number] || (result != "Passed" && failed[number] == 0)
    printf "%s %s: %d passed, %d failed, %d skipped, %s s\n", progress, name, passed[number], failed[number], \
        skipped[number], seconds
    if (dead) {
        printf "  %s died or did not finish (%s): %d of %s tests, last: %s\n", name, result, seen, \
            (plan[number] > 0 ? plan[number] : "?"), last[number]
        died++
    }
    sum_passed += passed[number]; sum_failed += failed[number] + dead; sum_skipped += skipped[number]
    fflush()
}

# A program's line: its number, a colon, and TAP.
/^[0-9]+: / {
    number = $1
    sub(/:$/, "", number)
    line = substr($0, length($1) + 2)
    if (line !~ /^ *$|^Test (command|timeout)|^Working Directory/)
        last[number] = line
    if (line ~ /^1\.\.[0-9]+$/)
        plan[number] = substr(line, 4) + 0
    else if (line ~ /^ok .*# SKIP/)
        skipped[number]++
    else if (line ~ /^ok /)
        passed[number]++
    else if (line ~ /^not ok /)
        failed[number]++
    if (line ~ /^(not )?ok /)
        explaining[number] = line ~ /^not ok / ? 13 : 0
    if (explaining[number]-- > 0)
        print "  " line
    if (line ~ /^ok .*# SKIP/) {
        sub(/.*# SKIP */, "", line)
        reasons[line]++
    }
    next
}

# "12/50 Test  #3: api ....   Passed    0.64 sec", "... ***Failed", "...Subprocess aborted***Exception:   0.1 sec"
/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
    progress = $1
    number = substr($0, index($0, "#") + 1) + 0
    rest = substr($0, index($0, ": ") + 2)
    name = rest
    sub(/ .*/, "", name)
    seconds = $(NF - 1)
    result = rest ~ / Passed +[0-9.]+ sec$/ ? "Passed" : rest
    sub(/^[^ ]* \.*/, "", result)
    sub(/ +[0-9.]+ sec$/, "", result)
    gsub(/^ +|\*\*\*(Exception: *)?/, "", result)
    report(number, name, result, seconds)
}

END {
    for (reason in reasons)
        print "skipped, " reasons[reason] " times: " reason | "sort"
    close("sort")
    if (died > 0 && shm != "")
        print "/dev/shm cannot be written to, without which Criterion's programs die: " shm
    printf "%d passed, %d failed, %d skipped\n", sum_passed, sum_failed, sum_skipped
    exit sum_failed > 0 || sum_passed == 0
}
