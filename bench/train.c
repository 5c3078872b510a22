#include "commands.h"
#include "dataset.h"
#include "device.h"
#include "engine.h"
#include "fusedopt.h"
#include "gnuplot.h"
#include "json_file.h"
#include "options.h"
#include "report.h"
#include "whole_file.h"

#include <getopt.h>
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
    "  --rule NAME         only this rule, with each format of its state; may be given several times\n"
    "  --epochs N          passes over the training samples (20)\n"
    "  --seeds N           train each rule N times, with the seeds 1 to N (1)\n"
    "  --device cpu|cuda   where to train (cpu)\n"
    "  --json FILE         write the results to FILE: {\"rows\": [...]}, a row for each rule and seed\n"
    "  --plot FILE.svg     draw the training losses by epoch, through gnuplot\n"
    "  --help              this text\n"
    "\n"
    "rules:";

typedef struct train_options {
    bool chosen[RULE_COUNT];
    size_t chosen_count;
    size_t epochs, seeds;
    fopt_device device;
    const char *json_path, *plot_path; /* NULL: none */
} train_options;

/* Those with single-precision state are all there are; the others repeat them. */
static void print_rules(FILE *stream)
{
    for (size_t i = 0; i < RULE_COUNT; ++i)
        if (rules[i].state_format == FOPT_F32)
            fprintf(stream, " %s", rules[i].name);
    fputc('\n', stream);
}

static bool choose_rule(const char *command, const char *name, train_options *chosen)
{
    bool found = false;
    for (size_t i = 0; i < RULE_COUNT; ++i) {
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

/* Returns whether to go on; if not, *status is the exit status. */
static bool read_options(int argc, char **argv, train_options *chosen, int *status)
{
    static const struct option options[] = {
        {"rule", required_argument, NULL, 'r'},  {"epochs", required_argument, NULL, 'e'},
        {"seeds", required_argument, NULL, 's'}, {"device", required_argument, NULL, 'd'},
        {"json", required_argument, NULL, 'j'},  {"plot", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0},
    };
    *status = EXIT_USAGE;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        bool good = true;
        switch (option) {
        case 'r':
            good = choose_rule(argv[0], optarg, chosen);
            break;
        case 'e':
            good = parse_count(argv[0], "--epochs", optarg, 1, 10000, &chosen->epochs);
            break;
        case 's':
            good = parse_count(argv[0], "--seeds", optarg, 1, 10000, &chosen->seeds);
            break;
        case 'd':
            good = parse_device(argv[0], optarg, &chosen->device);
            break;
        case 'j':
            good = json_parse_path(argv[0], optarg, &chosen->json_path);
            break;
        case 'p':
            good = parse_file(argv[0], "--plot", optarg, ".svg", &chosen->plot_path);
            break;
        case 'h':
            fputs(usage, stdout);
            print_rules(stdout);
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

/* Whether what the options ask for can be had: better said before the training than after. */
static bool can_start(const char *command, const train_options *chosen)
{
    fopt_device_info info = {.size = sizeof info};
    if (fopt_device_query(chosen->device, &info) != FOPT_OK) {
        complain(command, "%s", fopt_last_error());
        return false;
    }
    return (!chosen->json_path || whole_file_writable(command, chosen->json_path)) &&
           (!chosen->plot_path || (gnuplot_there(command) && can_write(command, chosen->plot_path)));
}

/* Trains each chosen rule with each seed, printing the table as it goes. */
static bool train_all(device *d, const train_options *chosen, const dataset *data, engine_run *runs, double *losses)
{
    report_table_head(chosen->seeds);
    for (size_t i = 0; i < RULE_COUNT; ++i) {
        if (chosen->chosen_count > 0 && !chosen->chosen[i])
            continue;
        engine_run *first = runs;
        for (size_t seed = 1; seed <= chosen->seeds; ++seed) {
            *runs = (engine_run){.rule = &rules[i], .seed = seed, .epochs = chosen->epochs, .losses = losses};
            if (!engine_train(d, data, runs))
                return false;
            ++runs;
            losses += chosen->epochs;
        }
        report_table_row(first, chosen->seeds);
    }
    return true;
}

int train_command(int argc, char **argv)
{
    train_options chosen = {.epochs = 20, .seeds = 1};
    int status;
    if (!read_options(argc, argv, &chosen, &status))
        return status;
    device d;
    if (!can_start(argv[0], &chosen) || !device_open(&d, argv[0], chosen.device))
        return EXIT_FAILURE;

    const size_t run_count = chosen.seeds * (chosen.chosen_count > 0 ? chosen.chosen_count : RULE_COUNT);
    dataset *data = malloc(sizeof *data);
    engine_run *runs = calloc(run_count, sizeof *runs);
    double *losses = calloc(run_count * chosen.epochs, sizeof *losses);
    bool good = data && runs && losses;
    if (good) {
        dataset_load(data);
        good = train_all(&d, &chosen, data, runs, losses);
    } else {
        complain(argv[0], "out of memory");
    }
    good = device_close(&d) && good;
    if (good && chosen.json_path)
        good = report_json(argv[0], chosen.json_path, runs, run_count);
    if (good && chosen.plot_path)
        good = report_plot(argv[0], chosen.plot_path, runs, run_count, chosen.seeds);
    free(losses);
    free(runs);
    free(data);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
