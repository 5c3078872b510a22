/* The option --json. Without jansson it is refused, so that no path of a JSON file reaches the writers *_json.c. */
#ifndef JSON_FILE_H
#define JSON_FILE_H

#include <stdbool.h>

/* Whether this build writes JSON. */
extern const bool json_there;

/* Writes a value, which it consumes, to a file, whole or not at all (whole_file.h). NULL is what could not be made.
 * After a failure it complains, as `command` (options.h), and returns false. */
struct json_t;
bool json_write(const char *command, const char *path, struct json_t *root);

#endif
