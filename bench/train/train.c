/* The command train: its options, and the runs, rule by rule and seed by seed. */
#include "fusedopt.h"
#include "program/commands.h"
#include "program/gnuplot.h"
#include "program/json_file.h"
#include "program/options.h"
#include "program/progress.h"
#include "program/whole_file.h"
#include "train/dataset.h"
#include "train/engine.h"
#include "train/train_device.h"
#include "train/train_report.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One more rule, or one more format of its state, is one more line. */
static const engine_rule rules[] = {
    {.name = "sgd", .rule = FOPT_SGD, .lr = 0.2, .weight_decay = 1e-4},
    {.name = "momentum", .rule = FOPT_SGD, .lr = 0.05, .momentum = 0.9, .weight_decay = 1e-4},
    {.name = "rmsprop", .rule = FOPT_RMSPROP, .lr = 1e-3, .weight_decay = 1e-4},
    {.name = "adam", .rule = FOPT_ADAM, .lr = 2e-3, .weight_decay = 1e-4},
    {.name = "adamw", .rule = FOPT_ADAMW, .lr = 2e-3, .weight_decay = 1e-2},
    {.name = "momentum", .rule = FOPT_SGD, .lr = 0.05, .momentum = 0.9, .weight_decay = 1e-4, .state_format = FOPT_Q8},
    {.name = "rmsprop", .rule = FOPT_RMSPROP, .lr = 1e-3, .weight_decay = 1e-4, .state_format = FOPT_Q8},
    {.name = "adam", .rule = FOPT_ADAM, .lr = 2e-3, .weight_decay = 1e-4, .state_format = FOPT_Q8},
    {.name = "adamw", .rule = FOPT_ADAMW, .lr = 2e-3, .weight_decay = 1e-2, .state_format = FOPT_Q8},
};
enum { RULE_COUNT = sizeof rules / sizeof rules[0] };

static const char usage[] =
    "usage: fusedopt train [OPTION]...\n"
    "\n"
    "Trains a network of 17,226 parameters to read handwritten digits, with each rule, and prints a table: the\n"
    "format of the state and its bytes per parameter, the mean training loss of the last epoch, the accuracy on the\n"
    "held-out fifth of the digits, and the share of the training time that was spent in fopt_step().\n"
    "\n"
    "Options:\n"
    "\n"
    "  --rule NAME         only sgd, momentum, rmsprop, adam or adamw, with each format of its state; may be given\n"
    "                      several times\n"
    "  --lr X              the highest learning rate of the schedule, for all rules, above 0; each has its own\n"
    "                      without\n"
    "  --epochs N          passes over the training samples, 1 to 10000 (20)\n"
    "  --seeds N           train each rule N times, with the seeds 1 to N, at most 10000 (1)\n"
    "  --device cpu|cuda   where to train (cpu)\n"
    "  --json FILE         write the results to FILE: {\"rows\": [...]}, a row for each rule and seed\n"
    "  --plot FILE.svg     draw the training losses by epoch, through gnuplot\n"
    "  -h, --help          this text\n";

typedef struct train_options {
    bool chosen[RULE_COUNT];
    size_t chosen_count;
    double lr; /* 0: each rule's own */
    size_t epochs, seeds;
    fopt_device device;
    const char *json_path, *plot_path; /* NULL: none */
} train_options;

/* Prints the rules. Those with single-precision state are all there are; the others repeat them. */
static void print_rules(FILE *stream)
{
    for (size_t i = 0; i < RULE_COUNT; i++)
        if (rules[i].state_format == FOPT_F32)
            fprintf(stream, " %s", rules[i].name);
    fputc('\n', stream);
}

static bool choose_rule(const char *command, const char *name, void *target)
{
    train_options *chosen = target;
    bool found = false;
    for (size_t i = 0; i < RULE_COUNT; i++) {
        if (strcmp(name, rules[i].name) != 0)
            continue;
        chosen->chosen_count += !chosen->chosen[i];
        chosen->chosen[i] = found = true;
    }
    if (found)
        return true;
    complain(command, "--rule: no rule is called '%s'; there are:", name);
    print_rules(stderr);
    return false;
}

/* Tells whether what the options ask for can be had: better said before the training than after. */
static bool can_start(const char *command, const train_options *chosen)
{
    fopt_device_info info = {.size = sizeof info};
    if (fopt_device_query(chosen->device, &info) != FOPT_OK) {
        complain(command, "%s", fopt_last_error());
        return false;
    }
    return outputs_ready(command, chosen->json_path, chosen->plot_path);
}

/* Trains each chosen rule with each seed, printing the table as it goes. `runs` say with which rule and seed. */
static bool train_all(train_device *d, const train_options *chosen, const dataset *data, engine_run *runs,
                      size_t run_count)
{
    progress shown = progress_begin((double)(run_count * chosen->epochs));
    train_table_head(chosen->seeds);
    for (size_t i = 0; i < run_count; i++) {
        runs[i].shown = &shown;
        if (!engine_train(d, data, &runs[i]))
            return false;
        if ((i + 1) % chosen->seeds == 0)
            train_table_row(&runs[i + 1 - chosen->seeds], chosen->seeds);
    }
    return true;
}

/* Lists what is to be trained, rule by rule and seed by seed. Where a learning rate was chosen all rules take it. */
static void list_runs(const train_options *chosen, engine_rule used[RULE_COUNT], engine_run *runs, double *losses)
{
    for (size_t i = 0; i < RULE_COUNT; i++) {
        used[i] = rules[i];
        if (chosen->lr > 0)
            used[i].lr = chosen->lr;
        for (size_t seed = 1; seed <= chosen->seeds && (chosen->chosen_count == 0 || chosen->chosen[i]); seed++) {
            *runs++ = (engine_run){.rule = &used[i], .seed = seed, .epochs = chosen->epochs, .losses = losses};
            losses += chosen->epochs;
        }
    }
}

int train_command(int argc, char **argv)
{
    train_options chosen = {.epochs = 20, .seeds = 1};
    const option_spec options[] = {
        {"rule", OPTION_OTHER, &chosen, .read = choose_rule},
        {"lr", OPTION_REAL, &chosen.lr, .high = 1000000000}, /* what the library takes */
        {"epochs", OPTION_COUNT, &chosen.epochs, .low = 1, .high = 10000},
        {"seeds", OPTION_COUNT, &chosen.seeds, .low = 1, .high = 10000},
        {"device", OPTION_DEVICE, .target = &chosen.device},
        {"json", OPTION_JSON, .target = &chosen.json_path},
        {"plot", OPTION_PLOT, .target = &chosen.plot_path},
        {0},
    };
    int status;
    if (!read_options(argc, argv, usage, options, &status))
        return status;
    train_device d;
    if (!can_start(argv[0], &chosen) || !train_device_open(&d, argv[0], chosen.device))
        return EXIT_FAILURE;

    const size_t run_count = chosen.seeds * (chosen.chosen_count > 0 ? chosen.chosen_count : RULE_COUNT);
    engine_rule used[RULE_COUNT];
    dataset *data = malloc(sizeof *data);
    engine_run *runs = calloc(run_count, sizeof *runs);
    double *losses = calloc(run_count * chosen.epochs, sizeof *losses);
    bool good = data && runs && losses;
    if (good) {
        dataset_load(data);
        list_runs(&chosen, used, runs, losses);
        good = train_all(&d, &chosen, data, runs, run_count);
    } else {
        complain(argv[0], "out of memory");
    }
    good = train_device_close(&d) && good;
    if (good && chosen.json_path)
        good = train_json(argv[0], chosen.json_path, runs, run_count);
    if (good && chosen.plot_path)
        good = train_plot(argv[0], chosen.plot_path, chosen.device, runs, run_count, chosen.seeds);
    free(losses);
    free(runs);
    free(data);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
