#include "bench_report.h"
#include "commands.h"
#include "gnuplot.h"
#include "memory.h"
#include "options.h"
#include "stopwatch.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: fusedopt bench [OPTION]...\n"
    "\n"
    "Times the optimizer step, and in turns with it a[i] = a[i] * s + b[i] over arrays of the same total size, the\n"
    "most that this device's memory can do in place. In single precision also what one would use without the library,\n"
    "one tensor at a time: a fused loop and a chain of BLAS calls. Small arrays are not left in the caches.\n"
    "\n"
    "Without a choice of cases: Adam by size, each rule, each kind of format, each set of shapes; some two minutes.\n"
    "With one, all combinations of what was chosen, of adam, f32/f32/f32, flat and 2^26 where nothing was.\n"
    "\n"
    "  --rule NAME         sgd, momentum, rmsprop, adam or adamw\n"
    "  --formats P/G/S     of parameters, gradients (f32, bf16, f16) and state (f32, bf16)\n"
    "  --shapes NAME       flat (one tensor), small (ten thousand of 64 to 4096 elements), gpt2 (124M parameters),\n"
    "                      resnet50, llama (7B, as one of --scale tensor-parallel ranks holds it)\n"
    "  --params N,LOW..HIGH   sizes of the flat tensor, a number or a power such as 2^20; LOW..HIGH goes by factors\n"
    "                      of four\n"
    "  --scale N           1 to 64 (64)\n"
    "  --repeat N          samples of each (31)\n"
    "  --quick             fewer cases, smaller ones, at most 11 samples: half a minute at most\n"
    "  --device cpu|cuda   what to measure (cpu)\n"
    "  --json FILE         write machine, roofs and rows to FILE\n"
    "  --plot FILE.svg     draw throughput by size, through gnuplot\n"
    "  --help              this text\n"
    "\n"
    "--rule, --formats, --shapes and --params may be given several times.\n";

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

typedef struct formats {
    fopt_format param, grad, state;
} formats;

enum { MOST = 64 }; /* of one axis */

typedef struct axes {
    const struct rule *rules[MOST];
    formats formats[MOST];
    size_t shapes[MOST], params[MOST];
    size_t rule_count, formats_count, shapes_count, params_count;
} axes;

typedef struct bench_options {
    axes axes;
    size_t scale, repeat; /* repeat 0: not given */
    bool quick;
    fopt_device device;
    const char *json_path, *plot_path; /* NULL: none */
} bench_options;

static bool choose_rule(const char *command, const char *name, axes *chosen)
{
    for (size_t i = 0; i < RULE_COUNT; ++i)
        if (strcmp(name, rules[i].name) == 0 && chosen->rule_count < MOST) {
            chosen->rules[chosen->rule_count++] = &rules[i];
            return true;
        }
    complain(command, "--rule: '%s' is none of sgd, momentum, rmsprop, adam, adamw", name);
    return false;
}

static bool choose_shapes(const char *command, const char *name, axes *chosen)
{
    for (size_t i = 0; i < SHAPES_SETS; ++i)
        if (strcmp(name, shapes_names[i]) == 0 && chosen->shapes_count < MOST) {
            chosen->shapes[chosen->shapes_count++] = i;
            return true;
        }
    complain(command, "--shapes: '%s' is none of flat, small, gpt2, resnet50, llama", name);
    return false;
}

/* Reads a format's name up to the character `end`, and moves *text behind that. */
static bool parse_format(const char **text, char end, fopt_format *format)
{
    const char *stop = strchr(*text, end);
    const size_t length = stop ? (size_t)(stop - *text) : 0;
    for (int i = 0; length > 0 && fopt_format_name((fopt_format)i); ++i) {
        const char *name = fopt_format_name((fopt_format)i);
        if (strlen(name) == length && strncmp(name, *text, length) == 0) {
            *format = (fopt_format)i;
            *text = stop + 1;
            return true;
        }
    }
    return false;
}

static bool choose_formats(const char *command, const char *text, axes *chosen)
{
    formats *made = &chosen->formats[chosen->formats_count];
    const char *rest = text;
    if (chosen->formats_count < MOST && parse_format(&rest, '/', &made->param) &&
        parse_format(&rest, '/', &made->grad) && parse_format(&rest, '\0', &made->state)) {
        chosen->formats_count++;
        return true;
    }
    complain(command, "--formats: '%s' is not PARAM/GRAD/STATE, such as bf16/bf16/f32", text);
    return false;
}

/* A number, or 2^NUMBER; *end is behind it. */
static size_t parse_size(const char *text, char **end)
{
    if (*text < '0' || *text > '9') {
        *end = (char *)text;
        return 0;
    }
    const unsigned long long number = strtoull(text, end, 10);
    if (number != 2 || **end != '^')
        return (size_t)number;
    const unsigned long long exponent = strtoull(*end + 1, end, 10);
    return exponent < 60 ? (size_t)1 << exponent : 0;
}

static bool choose_params(const char *command, const char *text, axes *chosen)
{
    const size_t least = 1024, most = (size_t)1 << 40;
    for (const char *rest = text;; ++rest) {
        char *end;
        size_t low = parse_size(rest, &end), high = low;
        if (strncmp(end, "..", 2) == 0)
            high = parse_size(end + 2, &end);
        if (low < least || high < low || high > most || (*end != ',' && *end != '\0')) {
            complain(command, "--params: '%s' is not a list of sizes or ranges from 2^10 to 2^40", text);
            return false;
        }
        for (; low <= high && chosen->params_count < MOST; low *= 4)
            chosen->params[chosen->params_count++] = low;
        rest = end;
        if (*rest == '\0')
            return true;
    }
}

/* Returns whether to go on; if not, *status is the exit status. */
static bool read_options(int argc, char **argv, bench_options *chosen, int *status)
{
    static const struct option options[] = {
        {"rule", required_argument, NULL, 'r'},   {"formats", required_argument, NULL, 'f'},
        {"shapes", required_argument, NULL, 's'}, {"params", required_argument, NULL, 'n'},
        {"scale", required_argument, NULL, 'c'},  {"repeat", required_argument, NULL, 't'},
        {"quick", no_argument, NULL, 'q'},        {"device", required_argument, NULL, 'd'},
        {"json", required_argument, NULL, 'j'},   {"plot", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    *status = EXIT_USAGE;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        bool good = true;
        switch (option) {
        case 'r':
            good = choose_rule(argv[0], optarg, &chosen->axes);
            break;
        case 'f':
            good = choose_formats(argv[0], optarg, &chosen->axes);
            break;
        case 's':
            good = choose_shapes(argv[0], optarg, &chosen->axes);
            break;
        case 'n':
            good = choose_params(argv[0], optarg, &chosen->axes);
            break;
        case 'c':
            good = parse_count(argv[0], "--scale", optarg, 1, 64, &chosen->scale);
            break;
        case 't':
            good = parse_count(argv[0], "--repeat", optarg, 1, 100000, &chosen->repeat);
            break;
        case 'q':
            chosen->quick = true;
            break;
        case 'd':
            good = parse_device(argv[0], optarg, &chosen->device);
            break;
        case 'j':
            good = parse_file(argv[0], "--json", optarg, "", &chosen->json_path);
            break;
        case 'p':
            good = parse_file(argv[0], "--plot", optarg, ".svg", &chosen->plot_path);
            break;
        case 'h':
            fputs(usage, stdout);
            *status = EXIT_SUCCESS;
            return false;
        default: /* getopt_long() has said what is wrong */
            return false;
        }
        if (!good)
            return false;
    }
    return no_more_arguments(argc, argv);
}

/* ---- the cases ----------------------------------------------------------------------------------------------- */

typedef struct plan {
    bench_entry *entries;
    size_t count, room;
} plan;

static bool has_case(const plan *made, const measure_case *what)
{
    for (size_t i = 0; i < made->count; ++i) {
        const measure_case *other = &made->entries[i].what;
        if (strcmp(other->rule, what->rule) == 0 && other->param == what->param && other->grad == what->grad &&
            other->state == what->state && other->shapes.name == what->shapes.name &&
            other->shapes.params == what->shapes.params)
            return true;
    }
    return false;
}

/* Adds a case unless the plan has it already. Returns false if memory is lacking. */
static bool add_case(plan *made, const struct rule *rule, formats f, size_t set, size_t params, size_t scale)
{
    if (made->count == made->room) {
        const size_t room = 2 * made->room + 16;
        bench_entry *entries = realloc(made->entries, room * sizeof *entries);
        if (!entries)
            return false;
        made->entries = entries;
        made->room = room;
    }
    bench_entry *entry = &made->entries[made->count];
    *entry = (bench_entry){.what = {.rule = rule->name, .param = f.param, .grad = f.grad, .state = f.state}};
    fopt_group *group = &entry->what.group;
    fopt_group_init(group, sizeof *group, rule->rule);
    group->momentum = rule->momentum;
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; ++kind)
        group->state_format[kind] = f.state;
    if (!shapes_new(set, params, scale, &entry->what.shapes))
        return false;
    if (has_case(made, &entry->what))
        shapes_free(&entry->what.shapes);
    else
        made->count++;
    return true;
}

/* All combinations. */
static bool add_product(plan *made, const axes *a, size_t scale)
{
    bool good = true;
    for (size_t s = 0; s < a->shapes_count; ++s)
        for (size_t r = 0; r < a->rule_count; ++r)
            for (size_t f = 0; f < a->formats_count; ++f)
                for (size_t n = 0; n < a->params_count && good; ++n)
                    good = add_case(made, a->rules[r], a->formats[f], a->shapes[s], a->params[n], scale);
    return good;
}

static bool is_empty(const axes *a)
{
    return a->rule_count + a->formats_count + a->shapes_count + a->params_count == 0;
}

/* Adam in single precision, one tensor, where nothing was chosen. */
static axes completed(axes a, size_t params)
{
    if (a.rule_count == 0)
        choose_rule("", "adam", &a);
    if (a.formats_count == 0)
        choose_formats("", "f32/f32/f32", &a);
    if (a.shapes_count == 0)
        choose_shapes("", "flat", &a);
    if (a.params_count == 0)
        a.params[a.params_count++] = params;
    return a;
}

/* The cases when none were chosen. */
static bool add_standard(plan *made, size_t params, const bench_options *chosen)
{
    axes sizes = {0}, all_rules = {0}, all_formats = {0}, all_shapes = {0};
    for (size_t size = 1024; size <= params; size *= chosen->quick ? 64 : 4)
        sizes.params[sizes.params_count++] = size;
    for (size_t i = 0; i < RULE_COUNT; ++i)
        choose_rule("", rules[i].name, &all_rules);
    choose_formats("", "bf16/bf16/f32", &all_formats);
    choose_formats("", "bf16/bf16/bf16", &all_formats);
    choose_formats("", "f16/f16/f32", &all_formats);
    choose_shapes("", "small", &all_shapes);
    for (size_t i = SHAPES_FLAT + 1; i < SHAPES_SETS && !chosen->quick; ++i)
        choose_shapes("", shapes_names[i], &all_shapes);

    enum { PRODUCTS = 4 };
    const axes *const products[PRODUCTS] = {&sizes, &all_rules, &all_formats, &all_shapes};
    bool good = true;
    for (size_t i = 0; i < PRODUCTS && good; ++i) {
        const axes whole = completed(*products[i], params);
        good = add_product(made, &whole, chosen->scale);
    }
    return good;
}

/* ---- the command --------------------------------------------------------------------------------------------- */

/* Whether the library has what is to be timed: better said before the first case than at the last. */
static bool all_supported(const char *command, fopt_device device, const plan *made)
{
    for (size_t i = 0; i < made->count; ++i) {
        const measure_case *what = &made->entries[i].what;
        const fopt_config config = {.size = sizeof config, .device = device};
        const fopt_tensor empty = {.size = sizeof empty, .param_format = what->param, .grad_format = what->grad};
        fopt_sizes sizes = {.size = sizeof sizes};
        if (fopt_query_sizes(&config, &what->group, 1, &empty, 1, &sizes) != FOPT_OK) {
            complain(command, "%s", fopt_last_error());
            return false;
        }
    }
    return true;
}

/* Then it begins no round any more, but for three of each case that is left. */
enum { QUICK_SECONDS = 15 };

/* Times all cases, printing the table as it goes. */
static bool run(const char *command, const bench_options *chosen, plan *made)
{
    const bool progress = isatty(STDERR_FILENO);
    const double end = stopwatch() + (chosen->quick ? QUICK_SECONDS : HUGE_VAL);
    bool good = true;
    bench_table_head();
    for (size_t i = 0; i < made->count && good; ++i) {
        bench_entry *entry = &made->entries[i];
        if (progress)
            fprintf(stderr, "\r%zu of %zu: %s, %s of %zu parameters\033[K", i + 1, made->count, entry->what.rule,
                    entry->what.shapes.name, entry->what.shapes.params);
        const double seconds = (end - stopwatch()) / (double)(made->count - i);
        good =
            measure(command, chosen->device, &entry->what, (measure_effort){chosen->repeat, seconds}, &entry->result);
        if (progress)
            fputs("\r\033[K", stderr); /* clears the line */
        if (good)
            bench_table_rows(entry);
    }
    if (good)
        bench_table_foot(made->entries, made->count);
    return good;
}

int bench_command(int argc, char **argv)
{
    bench_options chosen = {.scale = 64};
    int status;
    if (!read_options(argc, argv, &chosen, &status))
        return status;
    if (chosen.repeat == 0)
        chosen.repeat = chosen.quick ? 11 : 31;
    const size_t params = (size_t)1 << (chosen.quick ? 22 : 26);
    const char *command = argv[0];
    if (!memory_ready(command, chosen.device) || (chosen.json_path && !can_write(command, chosen.json_path)) ||
        (chosen.plot_path && (!gnuplot_there(command) || !can_write(command, chosen.plot_path))))
        return EXIT_FAILURE;

    plan made = {0};
    const axes whole = completed(chosen.axes, params);
    bool good =
        is_empty(&chosen.axes) ? add_standard(&made, params, &chosen) : add_product(&made, &whole, chosen.scale);
    if (!good)
        complain(command, "out of memory");
    good = good && all_supported(command, chosen.device, &made) && run(command, &chosen, &made);
    if (good && chosen.json_path)
        good = bench_json(command, chosen.json_path, chosen.device, made.entries, made.count);
    if (good && chosen.plot_path)
        good = bench_plot(command, chosen.plot_path, made.entries, made.count);
    for (size_t i = 0; i < made.count; ++i)
        shapes_free(&made.entries[i].what.shapes);
    free(made.entries);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
