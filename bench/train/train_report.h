/* The results of the command train: a table on stdout, a JSON file, a plot. The runs come rule by rule, `seeds` of
 * each. */
#ifndef TRAIN_REPORT_H
#define TRAIN_REPORT_H

#include "train/engine.h"
#include <stdbool.h>
#include <stddef.h>

/* Returns the name of the moments' format, "none" where the rule keeps no state. */
const char *train_state_format(const engine_run *run);
double train_final_loss(const engine_run *run);

void train_table_head(size_t seeds);

/* Prints one rule's line: means over its runs, with their standard errors if there are more than one. */
void train_table_row(const engine_run *runs, size_t seeds);

/* Write the files. After a failure these complain, as `command` (options.h), and return false. */
bool train_json(const char *command, const char *path, const engine_run *runs, size_t run_count);
bool train_plot(const char *command, const char *path, fopt_device on, const engine_run *runs, size_t run_count,
                size_t seeds);

#endif
