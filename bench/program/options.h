/* The reading of command lines, which all commands share. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "fusedopt.h"
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Exit statuses, besides EXIT_SUCCESS and EXIT_FAILURE. */
enum { EXIT_USAGE = 2 };

/* Writes "COMMAND: message" and a newline to stderr. `command` is a command's argv[0]. */
__attribute__((format(printf, 2, 3))) void complain(const char *command, const char *format, ...);

/* The kind of an option: what it takes, and where its value goes. */
typedef enum option_kind {
    OPTION_FLAG,   /* nothing; bool: true */
    OPTION_COUNT,  /* a decimal integer of low..high; size_t */
    OPTION_REAL,   /* a decimal number above 0, at most `high`; double */
    OPTION_DEVICE, /* cpu or cuda; fopt_device */
    OPTION_JSON,   /* the name of a file; const char * */
    OPTION_PLOT,   /* the name of a file .svg; const char * */
    OPTION_OTHER   /* what read() takes; it may be given several times */
} option_kind;

/* An option of a command; they also have --help and -h, and an array of them ends with one that has no name. read()
 * complains and returns false if the text is not a value. */
typedef struct option_spec {
    const char *name; /* without "--" */
    option_kind kind;
    void *target;
    size_t low, high;
    bool (*read)(const char *command, const char *text, void *target);
} option_spec;

/* Reads a command line that holds options alone, each at most once unless its kind says otherwise. Returns whether to
 * go on. If not, *status is the exit status, and it has complained or printed the usage. */
bool read_options(int argc, char **argv, const char *usage, const option_spec *options, int *status);

/* Reads a decimal integer at the beginning of a text. Returns what is behind it; NULL if there is none, or it is above
 * `high`. */
const char *parse_integer(const char *text, size_t high, size_t *value);

/* Reads a decimal number without a sign at the beginning of a text. Returns what is behind it; NULL if there is
 * none. */
const char *parse_decimal(const char *text, double *value);

#ifdef __cplusplus
}
#endif

#endif
