/* The command state: its options, and the runs, several at once. */
#include "machine/parallel.h"
#include "program/commands.h"
#include "program/gnuplot.h"
#include "program/json_file.h"
#include "program/options.h"
#include "program/progress.h"
#include "program/whole_file.h"
#include "reference/quantized.h"
#include "state/state_report.h"
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "usage: fusedopt state [OPTION]...\n"
    "\n"
    "Tells how good Adam's updates are with its moments in each format: makes steps by synthetic gradients, on the\n"
    "CPU, and beside them the same steps exactly, in double precision. Parameters and gradients are in single\n"
    "precision. Some half a minute on two cores.\n"
    "\n"
    "The gradients are noise, a tenth of it signal: dense (neighbours of about the same size), embed (rows of 64,\n"
    "hit as rarely as words are), spike (dense, but once one in 256 is a thousand times as large), norm (neighbours\n"
    "that differ 10 to 1000 times), decay (dense, falling to a ten thousandth); and stop: ten gradients, then none,\n"
    "beside a neighbour whose go on.\n"
    "\n"
    "Options:\n"
    "\n"
    "  --steps N           100 to 10000000 (20000)\n"
    "  --elements N        4096 to 262144 (16384)\n"
    "  --beta1 LIST        of Adam, from 0 to below 1, with commas between them (0.9)\n"
    "  --beta2 LIST        likewise (0.999)\n"
    "  --quick             4096 elements, 2000 steps, where these are not given\n"
    "  --seed N            of the gradients and of stochastic rounding, 0 to 2^53 (1)\n"
    "  --threads N         1 to 1024 (as many as OpenMP has); the results are the same\n"
    "  --json FILE         write machine, options and rows to FILE\n"
    "  --plot FILE.svg     draw the errors, through gnuplot\n"
    "  -h, --help          this text\n";

enum { MOST_BETAS = 16 };

typedef struct beta_list {
    const char *option;
    double values[MOST_BETAS]; /* no two alike */
    size_t count;
} beta_list;

typedef struct state_options {
    size_t steps, elements, seed, threads; /* 0: not given */
    beta_list beta1, beta2;
    bool quick;
    const char *json_path, *plot_path; /* NULL: none */
} state_options;

/* Adds a value to a list, unless it is there already. Returns false if the list is full. */
static bool add_beta(double beta, beta_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->values[i] == beta)
            return true;
    if (list->count == MOST_BETAS)
        return false;
    list->values[list->count++] = beta;
    return true;
}

static bool choose_betas(const char *command, const char *text, void *target)
{
    beta_list *list = target;
    for (const char *rest = text;; rest++) {
        double beta;
        rest = parse_decimal(rest, &beta);
        if (!rest || (*rest != ',' && *rest != '\0') || beta >= 1) {
            complain(command, "%s: '%s' is not a list of decimal numbers from 0 to below 1", list->option, text);
            return false;
        }
        if (!add_beta(beta, list)) {
            complain(command, "%s: more than %d numbers", list->option, MOST_BETAS);
            return false;
        }
        if (*rest == '\0')
            return true;
    }
}

/* ---- runs ---------------------------------------------------------------------------------------------------- */

/* The runs, which threads share: each kind of gradients with each pair of betas. */
typedef struct state_runs {
    const char *command;
    const state_setting *setting;
    state_case *cases;
    size_t count;
    state_row *rows;
    progress shown; /* a run is one unit of its work */
} state_runs;

/* Returns false if memory is lacking. */
static bool list_runs(const state_options *chosen, state_runs *runs)
{
    const size_t most = GRADIENTS_KINDS * chosen->beta1.count * chosen->beta2.count;
    runs->cases = calloc(most, sizeof *runs->cases);
    runs->rows = calloc(most * runs->setting->formats_count, sizeof *runs->rows);
    if (!runs->cases || !runs->rows)
        return false;
    for (size_t i = 0; i < chosen->beta1.count; i++)
        for (size_t k = 0; k < chosen->beta2.count; k++)
            for (int kind = 0; kind < GRADIENTS_KINDS; kind++)
                runs->cases[runs->count++] =
                    (state_case){(gradients_kind)kind, chosen->beta1.values[i], chosen->beta2.values[k]};
    return true;
}

static bool make_run(void *context, size_t thread, size_t item)
{
    const state_runs *runs = context;
    (void)thread;
    return state_simulate(runs->command, runs->setting, &runs->cases[item],
                          &runs->rows[item * runs->setting->formats_count]);
}

static void show_progress(const state_runs *runs, size_t done)
{
    if (done < runs->count)
        progress_show(&runs->shown, "run %zu of %zu: %s", done + 1, runs->count,
                      gradients_names[runs->cases[done].kind]);
}

static bool print_run(void *context, size_t thread, size_t item)
{
    state_runs *runs = context;
    (void)thread;
    progress_clear(&runs->shown);
    for (size_t i = 0; i < runs->setting->formats_count; i++)
        state_table_row(&runs->rows[item * runs->setting->formats_count + i]);
    fflush(stdout); /* the next rows may take a while */
    progress_add(&runs->shown, 1);
    show_progress(runs, item + 1);
    return true;
}

/* Makes all runs, printing the table as it goes, and writes the files. */
static bool run_all(const state_options *chosen, state_runs *runs)
{
    const state_setting *setting = runs->setting;
    runs->shown = progress_begin((double)runs->count);
    state_table_head();
    show_progress(runs, 0);
    if (!parallel_items(make_run, print_run, runs, runs->count))
        return false;
    state_table_foot(setting);
    const size_t rows = runs->count * setting->formats_count;
    return (!chosen->json_path || state_json(runs->command, chosen->json_path, setting, runs->rows, rows)) &&
           (!chosen->plot_path || state_plot(runs->command, chosen->plot_path, setting, runs->rows, rows));
}

/* Completes what was chosen by what holds where nothing was. */
static void complete(state_options *chosen)
{
    if (chosen->steps == 0)
        chosen->steps = chosen->quick ? 2000 : 20000;
    if (chosen->elements == 0)
        chosen->elements = chosen->quick ? 4096 : 16384;
    if (chosen->beta1.count == 0)
        add_beta(0.9, &chosen->beta1);
    if (chosen->beta2.count == 0)
        add_beta(0.999, &chosen->beta2);
}

int state_command(int argc, char **argv)
{
    state_options chosen = {.seed = 1, .beta1 = {.option = "--beta1"}, .beta2 = {.option = "--beta2"}};
    const option_spec options[] = {
        {"steps", OPTION_COUNT, &chosen.steps, .low = 100, .high = 10000000},
        {"elements", OPTION_COUNT, &chosen.elements, .low = 4096, .high = GRADIENTS_MOST},
        {"beta1", OPTION_OTHER, &chosen.beta1, .read = choose_betas},
        {"beta2", OPTION_OTHER, &chosen.beta2, .read = choose_betas},
        {"quick", OPTION_FLAG, .target = &chosen.quick},
        {"seed", OPTION_COUNT, &chosen.seed, .low = 0, .high = (size_t)1 << 53},
        {"threads", OPTION_COUNT, &chosen.threads, .low = 1, .high = 1024},
        {"json", OPTION_JSON, .target = &chosen.json_path},
        {"plot", OPTION_PLOT, .target = &chosen.plot_path},
        {0},
    };
    int status;
    if (!read_options(argc, argv, usage, options, &status))
        return status;
    complete(&chosen);
    if (!outputs_ready(argv[0], chosen.json_path, chosen.plot_path))
        return EXIT_FAILURE;

    parallel_use(chosen.threads);
    quantized_prepare();
    state_formats formats[STATE_MOST_FORMATS];
    gradients_pool pool;
    const state_setting setting = {chosen.steps, chosen.elements, chosen.seed,
                                   &pool,        formats,         state_list_formats(formats)};
    state_runs runs = {.command = argv[0], .setting = &setting};
    bool good = gradients_pool_new(chosen.seed, &pool) && list_runs(&chosen, &runs);
    if (!good)
        complain(argv[0], "out of memory");
    good = good && run_all(&chosen, &runs);
    gradients_pool_free(&pool);
    free(runs.cases);
    free(runs.rows);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
