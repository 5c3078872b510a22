/* Writing JSON files, and the refusal where the program is built without jansson. */
#include "program/json_file.h"
#include "program/options.h"
#include "program/whole_file.h"

#ifdef FUSEDOPT_HAVE_JANSSON

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

const bool json_there = true;

bool json_write(const char *command, const char *path, json_t *root)
{
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (!text)
        complain(command, "%s: out of memory, or a number that is not finite", path);
    const bool good = text && whole_file_write(command, path, text, strlen(text));
    free(text);
    json_decref(root);
    return good;
}

#else

const bool json_there = false;

#endif
