/* The plot of the command state: the errors by gradients, and below them the largest updates. */
#include "program/gnuplot.h"
#include "state/state_report.h"
#include <math.h>
#include <stdio.h>

/* Returns the figure of a row that the lower panel shows. */
static double worst_or_moved(const state_row *row)
{
    return row->what.kind == GRADIENTS_STOP ? row->moved : row->worst;
}

static double error_of(const state_row *row)
{
    return row->error;
}

/* Writes the names of the runs below them, with their betas if those of all are not the same. */
static void name_runs(FILE *script, const state_row *rows, size_t runs, size_t formats)
{
    bool alike = true;
    for (size_t i = 0; i < runs; i++) {
        const state_case *what = &rows[i * formats].what;
        alike = alike && what->beta1 == rows->what.beta1 && what->beta2 == rows->what.beta2;
    }
    fprintf(script, "set xtics %s noenhanced (", alike ? "" : "rotate by -35");
    for (size_t i = 0; i < runs; i++) {
        const state_case *what = &rows[i * formats].what;
        fprintf(script, "%s'%s", i > 0 ? ", " : "", gradients_names[what->kind]);
        if (!alike)
            fprintf(script, " %g %g", what->beta1, what->beta2);
        fprintf(script, "' %zu", i);
    }
    fputs(")\n", script);
}

/* Draws a panel: a mark for each row, those of a run side by side. */
static void draw_panel(FILE *script, const state_setting *setting, const state_row *rows, size_t runs,
                       const char *title, double (*figure)(const state_row *))
{
    const size_t formats = setting->formats_count;
    double low = 0.5, high = 2; /* a range of logarithms must not be empty */
    for (size_t i = 0; i < runs * formats; i++) {
        const double value = figure(&rows[i]);
        low = value > 0 ? fmin(low, value) : low;
        high = isfinite(value) ? fmax(high, value) : high;
    }
    fprintf(script, "set title '%s' noenhanced\nset yrange [%.9g:%.9g]\nplot", title, low / 2, high * 2);
    for (size_t f = 0; f < formats; f++) {
        char name[STATE_NAME_SIZE];
        state_formats_name(setting->formats[f], name);
        fprintf(script, "%s '-' with points linetype %zu pointtype 7 pointsize 0.8 title '%s' noenhanced",
                f > 0 ? "," : "", f % GNUPLOT_COLOURS + 1, name);
    }
    fputc('\n', script);
    for (size_t f = 0; f < formats; f++) {
        for (size_t i = 0; i < runs; i++) {
            const double place = (double)i + 0.6 * ((double)f + 0.5 - 0.5 * (double)formats) / (double)formats;
            const double value = figure(&rows[i * formats + f]);
            if (value > 0 && isfinite(value))
                fprintf(script, "%.4f %.9g\n", place, value);
            else
                fprintf(script, "%.4f NaN\n", place);
        }
        fputs("e\n", script);
    }
}

bool state_plot(const char *command, const char *path, const state_setting *setting, const state_row *rows,
                size_t count)
{
    const size_t runs = count / setting->formats_count;
    const int wanted = 300 + 90 * (int)runs, width = wanted < 800 ? 800 : wanted < 4000 ? wanted : 4000;
    FILE *script = gnuplot_open(command, width, 860);
    if (!script)
        return false;
    fputs("set multiplot layout 2, 1 title ", script);
    gnuplot_quote_machine(script, (fopt_device){FOPT_CPU, 0});
    fprintf(script,
            " noenhanced\n"
            "set logscale y\n"
            "set format y '%%g'\n"
            "set xrange [-0.5:%.1f]\n"
            "set grid ytics linecolor 'gray80' linewidth 0.5\n"
            "set key outside right top\n",
            (double)runs - 0.5);
    name_runs(script, rows, runs, setting->formats_count);
    draw_panel(script, setting, rows, runs, "RMS error of the update, by exact Adam with its moments in double",
               error_of);
    draw_panel(script, setting, rows, runs, "The largest update by the largest exact one; stop: all that moved",
               worst_or_moved);
    fputs("unset multiplot\n", script);
    return gnuplot_close(command, script, path);
}
