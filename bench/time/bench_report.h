/* The results of the command bench: a table on stdout, a JSON file, a plot. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "time/measure.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct bench_entry {
    measure_case what;
    measure_result result;
} bench_entry;

/* Returns the name of the moments' format, "none" where the rule keeps no state. */
const char *bench_state_name(const bench_entry *entry);

void bench_table_head(void);
void bench_table_rows(const bench_entry *entry);

/* Explains the marks used in the table. */
void bench_table_foot(const bench_entry *entries, size_t count);

/* Write the files. After a failure these complain, as `command` (options.h), and return false. The plot has a curve for
 * each engine of what was timed in the most sizes, and bars for the engines side by side. */
bool bench_json(const char *command, const char *path, fopt_device device, const bench_entry *entries, size_t count);
bool bench_plot(const char *command, const char *path, fopt_device device, const bench_entry *entries, size_t count);

#endif
