/* The table and the plot of the command train. */
#include "train/train_report.h"
#include "program/gnuplot.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

double train_final_loss(const engine_run *run)
{
    return run->losses[run->epochs - 1];
}

static double percent_correct(const engine_run *run)
{
    return 100.0 * run->accuracy;
}

static double percent_in_step(const engine_run *run)
{
    return 100.0 * run->step_share;
}

const char *train_state_format(const engine_run *run)
{
    return run->state_bytes_per_param > 0.0 ? fopt_format_name(run->rule->state_format) : "none";
}

static double mean(const engine_run *runs, size_t count, double (*value)(const engine_run *))
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++)
        sum += value(&runs[i]);
    return sum / (double)count;
}

/* Returns the standard error of the mean. */
static double standard_error(const engine_run *runs, size_t count, double (*value)(const engine_run *))
{
    const double center = mean(runs, count, value);
    double squares = 0.0;
    for (size_t i = 0; i < count; i++)
        squares += (value(&runs[i]) - center) * (value(&runs[i]) - center);
    return sqrt(squares / (double)(count - 1) / (double)count);
}

/* Prints a table's cell: a mean, and its standard error if there are several values. */
static void print_cell(const engine_run *runs, size_t count, double (*value)(const engine_run *), int decimals)
{
    char text[64];
    int length = snprintf(text, sizeof text, "%.*f", decimals, mean(runs, count, value));
    if (count > 1)
        snprintf(text + length, sizeof text - (size_t)length, " +- %.*f", decimals, standard_error(runs, count, value));
    printf(" %16s", text);
}

void train_table_head(size_t seeds)
{
    if (seeds > 1)
        printf("Means of %zu seeds +- their standard errors.\n\n", seeds);
    printf("%-10s %-6s %12s %16s %16s %12s\n", "rule", "state", "bytes/param", "final loss", "held-out %",
           "step time %");
}

void train_table_row(const engine_run *runs, size_t seeds)
{
    printf("%-10s %-6s %12.2f", runs->rule->name, train_state_format(runs), runs->state_bytes_per_param);
    print_cell(runs, seeds, train_final_loss, 4);
    print_cell(runs, seeds, percent_correct, 2);
    printf(" %12.1f\n", mean(runs, seeds, percent_in_step));
    fflush(stdout); /* the next row may take a while */
}

/* Sends one curve of inline data: the mean loss of a rule's runs, epoch by epoch; none where training diverged. */
static void send_curve(FILE *gnuplot, const engine_run *runs, size_t seeds)
{
    for (size_t epoch = 0; epoch < runs->epochs; epoch++) {
        double sum = 0.0;
        for (size_t i = 0; i < seeds; i++)
            sum += runs[i].losses[epoch];
        if (isfinite(sum))
            fprintf(gnuplot, "%zu %.9g\n", epoch + 1, sum / (double)seeds);
        else
            fprintf(gnuplot, "%zu NaN\n", epoch + 1);
    }
    fputs("e\n", gnuplot);
}

/* Returns whether the first runs of the two are of the same rule, whatever the format of its state. */
static bool same_rule(const engine_run *a, const engine_run *b)
{
    return strcmp(a->rule->name, b->rule->name) == 0;
}

/* Returns the place of a rule among those that were trained, from 1. */
static size_t rule_number(const engine_run *runs, const engine_run *run)
{
    size_t number = 1;
    for (const engine_run *other = runs; !same_rule(other, run); other++)
        number += !same_rule(other, other + 1);
    return number;
}

/* Writes a range that has room for all losses, even if there is one alone or none that is finite, where gnuplot's own
 * would fail. */
static void write_range(FILE *script, const engine_run *runs, size_t run_count)
{
    double low = INFINITY, high = 0;
    for (size_t i = 0; i < run_count; i++)
        for (size_t epoch = 0; epoch < runs[i].epochs; epoch++)
            if (isfinite(runs[i].losses[epoch]) && runs[i].losses[epoch] > 0) {
                low = fmin(low, runs[i].losses[epoch]);
                high = fmax(high, runs[i].losses[epoch]);
            }
    fprintf(script, "set yrange [%.9g:%.9g]\n", high > 0 ? low / 1.5 : 0.1, high > 0 ? high * 1.5 : 10);
}

static void write_title(FILE *script, fopt_device on, size_t seeds)
{
    fputs("set title 'Training loss of a small network that reads digits", script);
    if (seeds > 1)
        fprintf(script, ", mean of %zu seeds", seeds);
    fputs("' . \"\\n\" . ", script);
    gnuplot_quote_machine(script, on);
    fputs(" noenhanced\n", script);
}

bool train_plot(const char *command, const char *path, fopt_device on, const engine_run *runs, size_t run_count,
                size_t seeds)
{
    FILE *script = gnuplot_open(command, 900, 560);
    if (!script)
        return false;
    write_title(script, on, seeds);
    write_range(script, runs, run_count);
    fprintf(script,
            "set xlabel 'epoch'\n"
            "set ylabel 'mean training loss'\n"
            "set xrange [0:%zu]\n"
            "set logscale y\n"
            "set grid ytics linecolor 'gray80' linewidth 0.5\n"
            "set key outside right top\n"
            "plot",
            runs->epochs + 1);
    for (size_t first = 0; first < run_count; first += seeds) {
        const engine_run *run = &runs[first];
        fprintf(
            script,
            "%s '-' with linespoints linewidth 1.5 linetype %zu dashtype %d pointtype 7 pointsize 0.3 title '%s %s'",
            first ? "," : "", rule_number(runs, run), gnuplot_dash(run->rule->state_format), run->rule->name,
            train_state_format(run));
    }
    fputc('\n', script);
    for (size_t first = 0; first < run_count; first += seeds)
        send_curve(script, &runs[first], seeds);
    return gnuplot_close(command, script, path);
}
