/* The option --json. All that needs jansson is in the sources *_json.c and json_file.c; a build without it has
 * json_none.c instead of them. */
#ifndef JSON_FILE_H
#define JSON_FILE_H

#include <stdbool.h>

/* Reads the option's value, the name of a file to write. Complains, as `command` (options.h), and returns false if it
 * is none, or if this build has no JSON. */
bool json_parse_path(const char *command, const char *text, const char **path);

/* Writes a value, which it consumes, to a file, whole or not at all (whole_file.h). NULL is what could not be made.
 * After a failure it complains, as `command`, and returns false. */
struct json_t;
bool json_write(const char *command, const char *path, struct json_t *root);

#endif
