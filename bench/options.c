#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void complain(const char *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", command);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

bool parse_count(const char *command, const char *option, const char *text, size_t low, size_t high, size_t *value)
{
    const size_t length = strlen(text);
    /* strtoull() alone would take signs and spaces. It gives ULLONG_MAX, which is no valid count, if it overflows. */
    if (length > 0 && strspn(text, "0123456789") == length) {
        const unsigned long long number = strtoull(text, NULL, 10);
        if (number >= low && number <= high) {
            *value = (size_t)number;
            return true;
        }
    }
    complain(command, "%s: '%s' is not an integer from %zu to %zu", option, text, low, high);
    return false;
}

bool parse_device(const char *command, const char *text, fopt_device *device)
{
    if (strcmp(text, "cpu") != 0 && strcmp(text, "cuda") != 0) {
        complain(command, "--device: '%s' is neither cpu nor cuda", text);
        return false;
    }
    *device = (fopt_device){strcmp(text, "cuda") == 0 ? FOPT_CUDA : FOPT_CPU, 0};
    return true;
}

bool parse_file(const char *command, const char *option, const char *text, const char *ending, const char **path)
{
    const size_t length = strlen(text), tail = strlen(ending);
    if (text[0] == '-')
        complain(command, "%s: a file's name is missing before '%s'; ./%s would be one", option, text, text);
    else if (length <= tail || strcmp(text + length - tail, ending) != 0)
        complain(command, "%s: '%s' does not name a file %s", option, text, ending);
    else
        *path = text;
    return *path == text;
}

bool no_more_arguments(int argc, char **argv)
{
    if (optind == argc)
        return true;
    complain(argv[0], "unexpected argument '%s'", argv[optind]);
    return false;
}

bool can_write(const char *command, const char *path)
{
    FILE *file = fopen(path, "a");
    if (!file) {
        complain(command, "cannot write %s: %s", path, strerror(errno));
        return false;
    }
    fclose(file);
    return true;
}
