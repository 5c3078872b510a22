/* What the commands of the program share in reading their command line. */
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

/* Reads an option's value as a decimal integer of low..high. Complains and returns false if it is anything else. */
bool parse_count(const char *command, const char *option, const char *text, size_t low, size_t high, size_t *value);

/* Reads "cpu" or "cuda". Complains and returns false if it is anything else. */
bool parse_device(const char *command, const char *text, fopt_device *device);

/* Reads the name of a file to write, which ends in `ending` ("": in anything). One that begins with '-' is refused: it
 * is the next option, before which the name was forgotten. */
bool parse_file(const char *command, const char *option, const char *text, const char *ending, const char **path);

/* After getopt_long(): complains and returns false if there are arguments that are no options. */
bool no_more_arguments(int argc, char **argv);

/* Complains and returns false if a file cannot be opened for writing. Creates it if it is not there, and leaves it as
 * it is if it is: so a command can find out before its work rather than after. */
bool can_write(const char *command, const char *path);

#ifdef __cplusplus
}
#endif

#endif
