/* Reads the files of golden/, and refuses whatever it does not expect there. */
#include "golden.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file being read. After the first error every function fails at once and leaves that error alone. */
typedef struct reader {
    FILE *file;
    const char *path;
    char *error;
    bool failed;
    int line_number;
    char line[1024]; /* the next line to be understood, never a comment, without its end; "" after the last */
} reader;

static bool fail(reader *r, const char *format, ...)
{
    if (!r->failed) {
        char what[GOLDEN_ERROR_SIZE / 2];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(what, sizeof what, format, arguments);
        va_end(arguments);
        snprintf(r->error, GOLDEN_ERROR_SIZE, "%.100s:%d: %s", r->path, r->line_number, what);
    }
    r->failed = true;
    return false;
}

static bool next_line(reader *r)
{
    do {
        r->line_number++;
        if (!fgets(r->line, sizeof r->line, r->file)) {
            r->line[0] = '\0';
            return ferror(r->file) ? fail(r, "cannot be read") : true;
        }
        size_t length = strlen(r->line);
        if (length == 0 || r->line[length - 1] != '\n')
            return fail(r, "a line that is too long or has no end");
        r->line[length - 1] = '\0';
    } while (r->line[0] == '#');
    return true;
}

/* Returns what follows `key` and a space in this line; NULL if another key is there. */
static const char *after_key(const reader *r, const char *key)
{
    size_t length = strlen(key);
    if (r->failed || strncmp(r->line, key, length) != 0 || (r->line[length] != ' ' && r->line[length] != '\0'))
        return NULL;
    return r->line + length + (r->line[length] == ' ');
}

static const char *expect_key(reader *r, const char *key)
{
    const char *text = after_key(r, key);
    if (!text)
        fail(r, "expected \"%s\", got \"%.40s\"", key, r->line);
    return text;
}

/* ---- lines of numbers ---------------------------------------------------------------------------------------- */

static bool read_double(reader *r, const char *key, double *value)
{
    const char *text = expect_key(r, key);
    if (!text)
        return false;
    char *end;
    *value = strtod(text, &end);
    if (strncmp(text, "0x", 2) != 0 || *end != '\0' || !isfinite(*value))
        return fail(r, "\"%.40s\" is not a finite hexadecimal number", text);
    return next_line(r);
}

static bool read_integer(reader *r, const char *key, int minimum, int maximum, int *value)
{
    const char *text = expect_key(r, key);
    if (!text)
        return false;
    char *end;
    long number = strtol(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0' || number < minimum || number > maximum)
        return fail(r, "\"%.40s\" is not a number from %d to %d", text, minimum, maximum);
    *value = (int)number;
    return next_line(r);
}

/* Reads one bit pattern; advances *text over it. */
static bool read_word(reader *r, golden_run run, const char **text, double *value)
{
    static const char hexadecimal[] = "0123456789abcdef";
    uint64_t bits64 = 0;
    for (int digits = run == GOLDEN_F32 ? 8 : 16; digits > 0; digits--, (*text)++) {
        const char *digit = **text ? strchr(hexadecimal, **text) : NULL;
        if (!digit)
            return fail(r, "expected %d more hexadecimal digits at \"%.20s\"", digits, *text);
        bits64 = bits64 * 16 + (uint64_t)(digit - hexadecimal);
    }
    uint32_t bits32 = (uint32_t)bits64;
    float single;
    memcpy(&single, &bits32, sizeof single);
    memcpy(value, &bits64, sizeof *value);
    if (run == GOLDEN_F32)
        *value = (double)single;
    return isfinite(*value) || fail(r, "a word is infinite or NaN");
}

static bool read_words(reader *r, const char *key, golden_run run, int count, golden_values values)
{
    const char *text = expect_key(r, key);
    if (!text)
        return false;
    for (int i = 0; i < count; i++) {
        if (i > 0 && *text++ != ' ')
            return fail(r, "expected %d words, got %d", count, i);
        if (!read_word(r, run, &text, &values[i]))
            return false;
    }
    return *text == '\0' ? next_line(r) : fail(r, "more than %d words", count);
}

/* ---- the parts of a file ------------------------------------------------------------------------------------- */

static bool read_rule(reader *r, golden_case *golden)
{
    static const char *const names[] = {
        [FOPT_SGD] = "sgd", [FOPT_RMSPROP] = "rmsprop", [FOPT_ADAM] = "adam", [FOPT_ADAMW] = "adamw"};
    const char *text = expect_key(r, "rule");
    for (int rule = FOPT_SGD; text && rule <= FOPT_ADAMW; rule++)
        if (strcmp(text, names[rule]) == 0) {
            golden->group.size = sizeof golden->group;
            golden->group.rule = (fopt_rule)rule;
            golden->group.flags = rule == FOPT_ADAMW ? FOPT_DECOUPLED_DECAY : 0;
            return next_line(r);
        }
    return fail(r, "unknown rule");
}

static bool read_flags(reader *r, golden_case *golden)
{
    static const struct {
        const char *name;
        unsigned flag;
    } flags[] = {{"amsgrad", FOPT_AMSGRAD},
                 {"centered", FOPT_CENTERED},
                 {"maximize", FOPT_MAXIMIZE},
                 {"nesterov", FOPT_NESTEROV}};
    if (!expect_key(r, "flags"))
        return false;
    strtok(r->line, " ");
    for (const char *name; (name = strtok(NULL, " "));) {
        size_t i = 0;
        while (i < sizeof flags / sizeof *flags && strcmp(name, flags[i].name) != 0)
            i++;
        if (i == sizeof flags / sizeof *flags)
            return fail(r, "unknown flag \"%.40s\"", name);
        golden->group.flags |= flags[i].flag;
    }
    return next_line(r);
}

static bool read_step(reader *r, int number, golden_case *golden)
{
    golden_step *step = &golden->step[number - 1];
    int n = golden->elements;
    bool ok = read_integer(r, "step", number, number, &number) && read_double(r, "lr", &step->lr) &&
              read_double(r, "weight_decay", &step->weight_decay) && read_words(r, "grad", GOLDEN_F32, n, step->grad);
    step->recorded = ok && after_key(r, "f32");
    if (step->recorded)
        ok = read_words(r, "f32", GOLDEN_F32, n, step->param[GOLDEN_F32]) &&
             read_words(r, "f64", GOLDEN_F64, n, step->param[GOLDEN_F64]);
    return ok;
}

static bool read_state(reader *r, golden_case *golden)
{
    static const struct {
        const char *name;
        fopt_state_kind kind;
    } states[] = {{"exp_avg", FOPT_FIRST_MOMENT},
                  {"exp_avg_sq", FOPT_SECOND_MOMENT},
                  {"max_exp_avg_sq", FOPT_MAX_SECOND_MOMENT},
                  {"square_avg", FOPT_SECOND_MOMENT},
                  {"grad_avg", FOPT_FIRST_MOMENT},
                  {"momentum_buffer", FOPT_MOMENTUM_BUFFER}};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        char key32[32], key64[32];
        snprintf(key32, sizeof key32, "state %s f32", states[i].name);
        snprintf(key64, sizeof key64, "state %s f64", states[i].name);
        if (!after_key(r, key32))
            continue;
        fopt_state_kind kind = states[i].kind;
        if (golden->has_state[kind])
            return fail(r, "a second array for the same state");
        golden->has_state[kind] = true;
        return read_words(r, key32, GOLDEN_F32, golden->elements, golden->state[kind][GOLDEN_F32]) &&
               read_words(r, key64, GOLDEN_F64, golden->elements, golden->state[kind][GOLDEN_F64]);
    }
    return fail(r, "expected a state or \"end\", got \"%.40s\"", r->line);
}

static bool read_case(reader *r, golden_case *golden)
{
    fopt_group *group = &golden->group;
    bool ok = next_line(r) && read_rule(r, golden) && read_flags(r, golden) && read_double(r, "beta1", &group->beta1) &&
              read_double(r, "beta2", &group->beta2) && read_double(r, "eps", &group->eps) &&
              read_double(r, "momentum", &group->momentum) && read_double(r, "dampening", &group->dampening) &&
              read_double(r, "alpha", &group->alpha) &&
              read_integer(r, "elements", 1, GOLDEN_ELEMENTS_MAX, &golden->elements) &&
              read_integer(r, "steps", 1, GOLDEN_STEPS_MAX, &golden->steps) &&
              read_words(r, "start", GOLDEN_F32, golden->elements, golden->start);
    for (int number = 1; ok && number <= golden->steps; number++)
        ok = read_step(r, number, golden);
    while (ok && strcmp(r->line, "end") != 0)
        ok = read_state(r, golden);
    if (ok && !golden->step[golden->steps - 1].recorded)
        ok = fail(r, "the last step is not recorded");
    return ok && next_line(r) && (feof(r->file) || fail(r, "more after \"end\""));
}

bool golden_read(const char *path, golden_case *golden, char error[GOLDEN_ERROR_SIZE])
{
    reader r = {.file = fopen(path, "r"), .path = path, .error = error};
    if (!r.file)
        return fail(&r, "cannot be opened");
    memset(golden, 0, sizeof *golden);
    bool ok = read_case(&r, golden);
    fclose(r.file);
    return ok;
}
