#!/usr/bin/env bash
# Whether structs may grow: programs that were compiled against another header than the library's, one with the last
# field of each struct left out, as an earlier one had it, and one with a field more in each, as a later one will have.
# Arguments: the project's folder, the shared library.
set -u
project=$1 library=$2
# shellcheck source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$dir" || exit 1

# The structs that begin with `size`; of each the last field goes, or `later` comes behind it.
header() { # FOLDER LATER
    mkdir "$1"
    awk -v later="$2" '
        /^typedef struct fopt_[a-z_]+ \{$/ { lines = ""; field = ""; sized = 0; inside = 1 }
        !inside { print; next }
        {
            if (/^    size_t size;/) sized = 1
            starts = /^    [a-z].*;/ # a field, not the rest of a comment
            if (starts) { before = lines; field = $0 }
            if (/^\} fopt_/) {
                if (sized && later != "") lines = lines "    size_t later;\n"
                else if (sized && field !~ /size_t size;/) { lines = before; count++ }
                printf "%s%s\n", lines, $0
                inside = 0
                next
            }
            lines = lines $0 "\n"
        }
        END { print "changed " count + 0 > "/dev/stderr" }' "$project/include/fusedopt.h" >"$1/fusedopt.h"
}
header earlier '' 2>log
header later yes 2>>log
! cmp -s earlier/fusedopt.h later/fusedopt.h && grep -q '^changed 6$' log
report $? "headers with a field less, and with one more, can be made"

# Every struct is given to every call that takes it. LATER is what the fields hold that the library does not know.
cat >program.c <<'END'
#include "fusedopt.h"
#include <stdio.h>
#include <string.h>
#ifdef LATER
#define SIZED(x) (memset(&(x), 0, sizeof (x)), (x).size = sizeof (x), (x).later = LATER)
#else
#define SIZED(x) (memset(&(x), 0, sizeof (x)), (x).size = sizeof (x))
#endif
#define OK(call) ((call) == FOPT_OK ? (void)0 : (void)(bad++, printf("%s\n", fopt_last_error())))

int main(void)
{
    int bad = 0;
    float w[2][4] = {{1, 2, 3, 4}, {5, 6, 7, 8}}, g[4] = {1, 1, 1, 1}, moments[2][4] = {{0}};
    fopt_config config;
    fopt_group groups[2];
    fopt_tensor tensors[2];
    fopt_array states[FOPT_STATE_KINDS], view;
    fopt_sizes sizes;
    fopt_device_info info;
    fopt_step_options options;
    fopt_optimizer *optimizer = NULL;
    SIZED(config), SIZED(view), SIZED(sizes), SIZED(info);
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    for (int i = 0; i < 2; i++) {
        OK(fopt_group_init(&groups[i], sizeof groups[i], FOPT_ADAM));
        groups[i].lr = 0.5;
        SIZED(tensors[i]);
        tensors[i].param = w[i];
        tensors[i].grad = g;
        tensors[i].count = 4;
        tensors[i].group = (size_t)i;
    }
    for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        SIZED(states[kind]);
        if (kind < 2) {
            states[kind].data = moments[kind];
            states[kind].count = 4;
        }
    }
#ifdef LATER
    groups[0].later = groups[1].later = LATER;
    options.later = LATER;
#endif
    const fopt_device cpu = {FOPT_CPU, 0};
    OK(fopt_device_query(cpu, &info));
    OK(fopt_query_sizes(&config, groups, 2, tensors, 2, &sizes));
    OK(fopt_create(&config, groups, 2, tensors, 2, &optimizer));
    if (optimizer) {
        OK(fopt_step(optimizer, &options, NULL));
        OK(fopt_set_group(optimizer, 1, &groups[1], NULL));
        OK(fopt_state(optimizer, 1, FOPT_SECOND_MOMENT, &view));
        OK(fopt_update(&config, &groups[0], &tensors[0], states, 1, &options, NULL));
        if (w[0][0] != 0.0f || w[1][3] != 7.5f || view.count != 4 || sizes.state_bytes != 64 || !info.name[0])
            bad++, printf("%g %g %zu %zu\n", (double)w[0][0], (double)w[1][3], view.count, sizes.state_bytes);
    }
    fopt_destroy(optimizer);
    printf("%d bad\n", bad);
    return 0;
}
END

build() { # NAME FOLDER FLAGS
    cc -std=c99 -Wall -Werror -I"$2" $3 program.c "$library" -Wl,-rpath,"$(dirname "$library")" -o "$1" >log 2>&1
}
build same "$project/include" "" && ./same >log 2>&1 && [ "$(cat log)" = "0 bad" ]
report $? "a program of today's header works"
build before earlier "" && ./before >log 2>&1 && [ "$(cat log)" = "0 bad" ]
report $? "a program of an earlier header works"
build after later -DLATER=0 && ./after >log 2>&1 && [ "$(cat log)" = "0 bad" ]
report $? "a program of a later header works, as long as it does not use what is new"
build uses later -DLATER=1 && ./uses >log 2>&1 && [ "$(grep -c 'is not zero: fusedopt .* knows only' log)" -ge 2 ] &&
    ! grep -q '^0 bad' log
report $? "and is refused if it does"
finish
