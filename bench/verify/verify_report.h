/* The command verify tells of each case: a line on stdout, a row of a JSON file. */
#ifndef VERIFY_REPORT_H
#define VERIFY_REPORT_H

#include "verify/verify_cases.h"
#include <stdbool.h>
#include <stddef.h>

/* The device and the seed of all cases of a run. */
typedef struct verify_setting {
    fopt_device device;
    size_t seed;
} verify_setting;

/* A case, and how it ended. */
typedef struct verify_row {
    size_t number;
    verify_case what;
    size_t tensors;
    check_result result;
    char skipped[96]; /* why; "" if it was not */
} verify_row;

bool verify_row_passed(const verify_row *row);

/* Returns the name of the moments' format, "none" if there are none. */
const char *verify_row_state(const verify_row *row);

void verify_print_head(void);

/* Complains, as `command` (options.h), of a row that did not pass. */
void verify_print_row(const char *command, const verify_setting *setting, const verify_row *row);

/* Writes the JSON file. After a failure it complains, as `command`, and returns false. */
bool verify_json(const char *command, const char *path, const verify_setting *setting, const verify_row *rows,
                 size_t count);

#endif
