/* The results of the command state: a table on stdout, a JSON file, a plot. */
#ifndef STATE_REPORT_H
#define STATE_REPORT_H

#include "state/simulate.h"
#include <stdbool.h>
#include <stddef.h>

/* Writes "q8/bf16", say: the formats of the first and the second moment; one name where they are the same. */
enum { STATE_NAME_SIZE = 32 };
void state_formats_name(state_formats formats, char name[STATE_NAME_SIZE]);

void state_table_head(void);
void state_table_row(const state_row *row);

/* Explains the columns. */
void state_table_foot(const state_setting *setting);

/* Write the files. After a failure these complain, as `command` (options.h), and return false. The rows come run by
 * run, a row for each of the setting's formats. */
bool state_json(const char *command, const char *path, const state_setting *setting, const state_row *rows,
                size_t count);
bool state_plot(const char *command, const char *path, const state_setting *setting, const state_row *rows,
                size_t count);

#endif
