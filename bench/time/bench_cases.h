/* The cases of the command bench: what can be chosen, and the combinations of what was. */
#ifndef BENCH_CASES_H
#define BENCH_CASES_H

#include "time/bench_report.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct bench_formats {
    fopt_format param, grad, state;
} bench_formats;

enum { BENCH_MOST = 64 }; /* of one axis; no two alike */

/* The choices on each axis; none at first. */
typedef struct bench_axes {
    size_t rules[BENCH_MOST]; /* of a list of bench_cases.c */
    bench_formats formats[BENCH_MOST];
    size_t shapes[BENCH_MOST], params[BENCH_MOST];
    size_t rule_count, formats_count, shapes_count, params_count;
} bench_axes;

/* Read an option's value into the axes, `chosen`. They complain, as `command` (options.h), and return false if it is
 * none. */
bool bench_choose_rule(const char *command, const char *name, void *chosen);
bool bench_choose_formats(const char *command, const char *text, void *chosen);
bool bench_choose_shapes(const char *command, const char *name, void *chosen);
bool bench_choose_params(const char *command, const char *text, void *chosen);

typedef struct bench_plan {
    bench_entry *entries; /* without results yet */
    size_t count, room;
} bench_plan;

/* Makes a plan: all combinations of what was chosen; a standard selection if nothing was. `params` is the size where
 * none was, `scale` is that of shapes.h, `quick` makes fewer cases. Returns false if memory is lacking; the plan is to
 * be freed then too. */
bool bench_plan_new(const bench_axes *chosen, size_t params, size_t scale, bool quick, bench_plan *made);
void bench_plan_free(bench_plan *made);

#endif
