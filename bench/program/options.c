/* Command lines: one table a command, read by getopt_long(). */
#include "program/options.h"
#include "program/json_file.h"
#include <getopt.h>
#include <math.h>
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

/* ---- values -------------------------------------------------------------------------------------------------- */

const char *parse_integer(const char *text, size_t high, size_t *value)
{
    /* strtoull() alone would take signs and spaces, and what is too large for any integer as the largest one. */
    const size_t length = strspn(text, "0123456789");
    size_t number = 0;
    for (size_t i = 0; i < length; i++) {
        const size_t digit = (size_t)(text[i] - '0');
        if (digit > high || number > (high - digit) / 10)
            return NULL;
        number = 10 * number + digit;
    }
    *value = number;
    return length > 0 ? text + length : NULL;
}

/* Takes digits with at most one point among them, and perhaps an exponent: strtod() takes much more. */
const char *parse_decimal(const char *text, double *value)
{
    const char *end = text;
    size_t whole = strspn(end, "0123456789"), part = 0;
    end += whole;
    if (*end == '.') {
        part = strspn(end + 1, "0123456789");
        end += 1 + part;
    }
    if (whole + part > 0 && (*end == 'e' || *end == 'E')) {
        end += 1 + (end[1] == '-' || end[1] == '+');
        part = strspn(end, "0123456789");
        whole = 0;
        end += part;
    }
    *value = whole + part > 0 ? strtod(text, NULL) : 0;
    return whole + part > 0 ? end : NULL;
}

static bool parse_count(const char *command, const option_spec *option, const char *text)
{
    size_t number;
    const char *end = parse_integer(text, option->high, &number);
    if (end && *end == '\0' && number >= option->low) {
        *(size_t *)option->target = number;
        return true;
    }
    complain(command, "--%s: '%s' is not an integer from %zu to %zu", option->name, text, option->low, option->high);
    return false;
}

static bool parse_real(const char *command, const option_spec *option, const char *text)
{
    double number;
    const char *end = parse_decimal(text, &number);
    if (end && *end == '\0' && number > 0 && number <= (double)option->high) {
        *(double *)option->target = number;
        return true;
    }
    complain(command, "--%s: '%s' is not a decimal number above 0, at most %zu", option->name, text, option->high);
    return false;
}

static bool parse_device(const char *command, const option_spec *option, const char *text)
{
    if (strcmp(text, "cpu") != 0 && strcmp(text, "cuda") != 0) {
        complain(command, "--%s: '%s' is neither cpu nor cuda", option->name, text);
        return false;
    }
    *(fopt_device *)option->target = (fopt_device){strcmp(text, "cuda") == 0 ? FOPT_CUDA : FOPT_CPU, 0};
    return true;
}

/* Complains if this build has no JSON. */
static bool json_ready(const char *command, const option_spec *option)
{
    if (!json_there)
        complain(command, "--%s: this build has no JSON: it was configured without jansson", option->name);
    return json_there;
}

/* Reads the name of a file that ends in `ending`. One that begins with '-' is refused: it is the next option, before
 * which the name was forgotten. */
static bool parse_file(const char *command, const option_spec *option, const char *text, const char *ending)
{
    const size_t length = strlen(text), tail = strlen(ending);
    if (text[0] == '-')
        complain(command, "--%s: a file's name is missing before '%s'; ./%s would be one", option->name, text, text);
    else if (length <= tail || strcmp(text + length - tail, ending) != 0)
        complain(command, "--%s: '%s' does not name a file%s%s", option->name, text, tail > 0 ? " " : "", ending);
    else
        *(const char **)option->target = text;
    return *(const char **)option->target == text;
}

static bool parse_value(const char *command, const option_spec *option, const char *text)
{
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)option->target = true;
        return true;
    case OPTION_COUNT:
        return parse_count(command, option, text);
    case OPTION_REAL:
        return parse_real(command, option, text);
    case OPTION_DEVICE:
        return parse_device(command, option, text);
    case OPTION_JSON:
        return json_ready(command, option) && parse_file(command, option, text, "");
    case OPTION_PLOT:
        return parse_file(command, option, text, ".svg");
    case OPTION_OTHER:
        return option->read(command, text, option->target);
    }
    return false;
}

/* ---- the command line ---------------------------------------------------------------------------------------- */

enum { MOST_OPTIONS = 16 };

/* Fills getopt_long()'s list: an option's value is its place, that of --help is 'h'. */
static size_t list_options(const option_spec *options, struct option list[MOST_OPTIONS])
{
    size_t count = 0;
    for (; options[count].name; count++) {
        const int takes = options[count].kind == OPTION_FLAG ? no_argument : required_argument;
        list[count] = (struct option){options[count].name, takes, NULL, (int)count};
    }
    list[count] = (struct option){"help", no_argument, NULL, 'h'};
    list[count + 1] = (struct option){0};
    return count;
}

bool read_options(int argc, char **argv, const char *usage, const option_spec *options, int *status)
{
    struct option list[MOST_OPTIONS];
    bool given[MOST_OPTIONS] = {false};
    const size_t count = list_options(options, list);
    *status = EXIT_USAGE;
    for (int place; (place = getopt_long(argc, argv, "h", list, NULL)) != -1;) {
        if (place == 'h') {
            fputs(usage, stdout);
            *status = EXIT_SUCCESS;
            return false;
        }
        if (place < 0 || (size_t)place >= count) /* '?': getopt_long() has said what is wrong */
            return false;
        const option_spec *option = &options[place];
        if (given[place] && option->kind != OPTION_OTHER && option->kind != OPTION_FLAG) {
            complain(argv[0], "--%s is given twice", option->name);
            return false;
        }
        given[place] = true;
        if (!parse_value(argv[0], option, optarg))
            return false;
    }
    if (optind < argc)
        complain(argv[0], "unexpected argument '%s'", argv[optind]);
    return optind == argc;
}
