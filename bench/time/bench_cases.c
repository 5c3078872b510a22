/* Which cases the command bench times: those chosen, or a standard selection. */
#include "time/bench_cases.h"
#include "program/options.h"
#include <stdlib.h>
#include <string.h>

/* ---- what can be chosen -------------------------------------------------------------------------------------- */

static const struct rule {
    const char *name;
    fopt_rule rule;
    double momentum;
} rules[] = {
    {"sgd", FOPT_SGD, 0},   {"momentum", FOPT_SGD, 0.9}, {"rmsprop", FOPT_RMSPROP, 0},
    {"adam", FOPT_ADAM, 0}, {"adamw", FOPT_ADAMW, 0},
};
enum { RULE_COUNT = sizeof rules / sizeof *rules };

/* Adds a value to a list, unless it is there already. Returns false if the list is full. */
static bool add_value(size_t value, size_t *values, size_t *count)
{
    for (size_t i = 0; i < *count; i++)
        if (values[i] == value)
            return true;
    if (*count == BENCH_MOST)
        return false;
    values[(*count)++] = value;
    return true;
}

bool bench_choose_rule(const char *command, const char *name, void *chosen)
{
    bench_axes *axes = chosen;
    for (size_t i = 0; i < RULE_COUNT; i++)
        if (strcmp(name, rules[i].name) == 0)
            return add_value(i, axes->rules, &axes->rule_count);
    complain(command, "--rule: '%s' is none of sgd, momentum, rmsprop, adam, adamw", name);
    return false;
}

bool bench_choose_shapes(const char *command, const char *name, void *chosen)
{
    bench_axes *axes = chosen;
    for (size_t i = 0; i < SHAPES_SETS; i++)
        if (strcmp(name, shapes_names[i]) == 0)
            return add_value(i, axes->shapes, &axes->shapes_count);
    complain(command, "--shapes: '%s' is none of flat, small, gpt2, resnet50, llama", name);
    return false;
}

/* Reads a format's name up to the character `end`, and moves *text behind that. */
static bool parse_format(const char **text, char end, fopt_format *format)
{
    const char *stop = strchr(*text, end);
    const size_t length = stop ? (size_t)(stop - *text) : 0;
    for (int i = 0; length > 0 && fopt_format_name((fopt_format)i); i++) {
        const char *name = fopt_format_name((fopt_format)i);
        if (strlen(name) == length && strncmp(name, *text, length) == 0) {
            *format = (fopt_format)i;
            *text = stop + 1;
            return true;
        }
    }
    return false;
}

/* Adds formats, unless they are there already. Returns false if the list is full. */
static bool add_formats(bench_formats f, bench_axes *axes)
{
    for (size_t i = 0; i < axes->formats_count; i++)
        if (axes->formats[i].param == f.param && axes->formats[i].grad == f.grad && axes->formats[i].state == f.state)
            return true;
    if (axes->formats_count == BENCH_MOST)
        return false;
    axes->formats[axes->formats_count++] = f;
    return true;
}

bool bench_choose_formats(const char *command, const char *text, void *chosen)
{
    bench_formats made;
    const char *rest = text;
    if (!parse_format(&rest, '/', &made.param) || !parse_format(&rest, '/', &made.grad) ||
        !parse_format(&rest, '\0', &made.state)) {
        complain(command, "--formats: '%s' is not PARAM/GRAD/STATE, such as bf16/bf16/f32", text);
        return false;
    }
    if (add_formats(made, chosen))
        return true;
    complain(command, "--formats: more than %d", BENCH_MOST);
    return false;
}

static const size_t least_params = 1024, most_params = (size_t)1 << 40;

/* Reads a size, NUMBER or 2^NUMBER. Returns what is behind it, or NULL if there is none. */
static const char *parse_size(const char *text, size_t *size)
{
    size_t exponent;
    if (strncmp(text, "2^", 2) != 0)
        return parse_integer(text, most_params, size);
    text = parse_integer(text + 2, 40, &exponent);
    *size = text ? (size_t)1 << exponent : 0;
    return text;
}

/* Reads a size, or a range LOW..HIGH, as parse_size() does. */
static const char *parse_range(const char *text, size_t *low, size_t *high)
{
    const char *rest = parse_size(text, low);
    *high = *low;
    if (rest && strncmp(rest, "..", 2) == 0)
        rest = parse_size(rest + 2, high);
    return rest && *low >= least_params && *low <= *high ? rest : NULL;
}

bool bench_choose_params(const char *command, const char *text, void *chosen)
{
    bench_axes *axes = chosen;
    for (const char *rest = text;; rest++) {
        size_t low, high;
        rest = parse_range(rest, &low, &high);
        if (!rest || (*rest != ',' && *rest != '\0')) {
            complain(command, "--params: '%s' is not a list of sizes or ranges from 2^10 to 2^40", text);
            return false;
        }
        for (; low <= high; low *= 4)
            if (!add_value(low, axes->params, &axes->params_count)) {
                complain(command, "--params: more than %d sizes", BENCH_MOST);
                return false;
            }
        if (*rest == '\0')
            return true;
    }
}

/* ---- the cases ----------------------------------------------------------------------------------------------- */

static bool has_case(const bench_plan *made, const measure_case *what)
{
    for (size_t i = 0; i < made->count; i++) {
        const measure_case *other = &made->entries[i].what;
        if (strcmp(other->rule, what->rule) == 0 && other->param == what->param && other->grad == what->grad &&
            other->state == what->state && other->shapes.name == what->shapes.name &&
            other->shapes.params == what->shapes.params)
            return true;
    }
    return false;
}

/* Adds a case unless the plan has it already. Returns false if memory is lacking. */
static bool add_case(bench_plan *made, const struct rule *rule, bench_formats f, size_t set, size_t params,
                     size_t scale)
{
    if (made->count == made->room) {
        const size_t room = 2 * made->room + 16;
        bench_entry *entries = realloc(made->entries, room * sizeof *entries);
        if (!entries)
            return false;
        made->entries = entries;
        made->room = room;
    }
    if (strcmp(rule->name, "sgd") == 0)
        f.state = FOPT_F32; /* it keeps none */
    bench_entry *entry = &made->entries[made->count];
    *entry = (bench_entry){.what = {.rule = rule->name, .param = f.param, .grad = f.grad, .state = f.state}};
    fopt_group *group = &entry->what.group;
    fopt_group_init(group, sizeof *group, rule->rule);
    group->momentum = rule->momentum;
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
        group->state_format[kind] = f.state;
    if (!shapes_new(set, params, scale, &entry->what.shapes))
        return false;
    if (has_case(made, &entry->what))
        shapes_free(&entry->what.shapes);
    else
        made->count++;
    return true;
}

/* Adds all combinations. */
static bool add_product(bench_plan *made, const bench_axes *a, size_t scale)
{
    bool good = true;
    for (size_t s = 0; s < a->shapes_count; s++)
        for (size_t r = 0; r < a->rule_count; r++)
            for (size_t f = 0; f < a->formats_count; f++)
                for (size_t n = 0; n < a->params_count && good; n++)
                    good = add_case(made, &rules[a->rules[r]], a->formats[f], a->shapes[s], a->params[n], scale);
    return good;
}

static bool is_empty(const bench_axes *a)
{
    return a->rule_count + a->formats_count + a->shapes_count + a->params_count == 0;
}

/* Completes what was chosen: by Adam in single precision, one tensor, where nothing was. */
static bench_axes completed(bench_axes a, size_t params)
{
    if (a.rule_count == 0)
        bench_choose_rule("", "adam", &a);
    if (a.formats_count == 0)
        bench_choose_formats("", "f32/f32/f32", &a);
    if (a.shapes_count == 0)
        bench_choose_shapes("", "flat", &a);
    if (a.params_count == 0)
        a.params[a.params_count++] = params;
    return a;
}

/* Adds the cases when none were chosen. */
static bool add_standard(bench_plan *made, size_t params, size_t scale, bool quick)
{
    bench_axes sizes = {0}, all_rules = {0}, all_formats = {0}, all_shapes = {0};
    for (size_t size = 1024; size <= params; size *= quick ? 64 : 4)
        sizes.params[sizes.params_count++] = size;
    for (size_t i = 0; i < RULE_COUNT; i++)
        bench_choose_rule("", rules[i].name, &all_rules);
    bench_choose_formats("", "bf16/bf16/f32", &all_formats);
    bench_choose_formats("", "bf16/bf16/bf16", &all_formats);
    bench_choose_formats("", "f16/f16/f32", &all_formats);
    bench_choose_formats("", "f32/f32/q8", &all_formats);
    bench_choose_formats("", "bf16/bf16/q8", &all_formats);
    bench_choose_shapes("", "small", &all_shapes);
    for (size_t i = SHAPES_FLAT + 1; i < SHAPES_SETS && !quick; i++)
        bench_choose_shapes("", shapes_names[i], &all_shapes);

    enum { PRODUCTS = 4 };
    const bench_axes *const products[PRODUCTS] = {&sizes, &all_rules, &all_formats, &all_shapes};
    bool good = true;
    for (size_t i = 0; i < PRODUCTS && good; i++) {
        const bench_axes whole = completed(*products[i], params);
        good = add_product(made, &whole, scale);
    }
    return good;
}

bool bench_plan_new(const bench_axes *chosen, size_t params, size_t scale, bool quick, bench_plan *made)
{
    const bench_axes whole = completed(*chosen, params);
    *made = (bench_plan){0};
    return is_empty(chosen) ? add_standard(made, params, scale, quick) : add_product(made, &whole, scale);
}

void bench_plan_free(bench_plan *made)
{
    for (size_t i = 0; i < made->count; i++)
        shapes_free(&made->entries[i].what.shapes);
    free(made->entries);
}
