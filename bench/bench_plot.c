#include "bench_report.h"
#include "gnuplot.h"

#include <stdio.h>
#include <string.h>

/* ---- throughput by size -------------------------------------------------------------------------------------- */

/* Whether the two differ in their size alone. */
static bool in_curve(const bench_entry *entry, const bench_entry *first)
{
    const measure_case *a = &entry->what, *b = &first->what;
    return strcmp(a->rule, b->rule) == 0 && strcmp(a->shapes.name, b->shapes.name) == 0 && a->param == b->param &&
           a->grad == b->grad && a->state == b->state;
}

/* The points of one engine, or of the roof for the row after the last. */
static void send_curve(FILE *gnuplot, const bench_entry *entries, size_t count, size_t first, size_t row)
{
    for (size_t i = first; i < count; ++i)
        if (in_curve(&entries[i], &entries[first]))
            fprintf(gnuplot, "%zu %.9g\n", entries[i].what.shapes.params,
                    row < entries[i].result.row_count ? entries[i].result.rows[row].gb_per_s
                                                      : entries[i].result.stream_gb_per_s);
    fputs("e\n", gnuplot);
}

/* Of the curve that an entry begins; 0 if it belongs to another one. */
static size_t curve_points(const bench_entry *entries, size_t count, size_t index)
{
    size_t points = 0;
    for (size_t i = 0; i < count; ++i) {
        if (!in_curve(&entries[i], &entries[index]))
            continue;
        if (i < index)
            return 0;
        points++;
    }
    return points;
}

/* A curve for each engine and one for their roof. */
static void name_curves(FILE *gnuplot, const bench_entry *entry, bool first)
{
    const measure_case *what = &entry->what;
    for (size_t row = 0; row <= entry->result.row_count; ++row) {
        const bool roof = row == entry->result.row_count;
        fprintf(gnuplot,
                "%s '-' with linespoints linewidth 1.5 pointtype 7 pointsize 0.4 %s title '%s %s/%s/%s %s: %s'",
                first && row == 0 ? "" : ",", roof ? "dashtype 2 linecolor 'gray'" : "", what->rule,
                fopt_format_name(what->param), fopt_format_name(what->grad), bench_state_name(entry), what->shapes.name,
                roof ? "roof" : entry->result.rows[row].engine);
    }
}

static size_t longest_curve(const bench_entry *entries, size_t count)
{
    size_t longest = 0;
    for (size_t i = 0; i < count; ++i)
        longest = curve_points(entries, count, i) > longest ? curve_points(entries, count, i) : longest;
    return longest;
}

/* Of what was timed in the most sizes: the rest would only hide that. */
static void draw_curves(FILE *gnuplot, const bench_entry *entries, size_t count)
{
    const size_t longest = longest_curve(entries, count);
    size_t named = 0;
    fputs("set xlabel 'parameters'\n"
          "set ylabel 'GB/s'\n"
          "set logscale x 2\n"
          "set format x '2^{%L}'\n"
          "set yrange [0:]\n"
          "set key outside right top\n"
          "plot",
          gnuplot);
    for (size_t i = 0; i < count; ++i)
        if (curve_points(entries, count, i) == longest)
            name_curves(gnuplot, &entries[i], named++ == 0);
    fputc('\n', gnuplot);
    for (size_t i = 0; i < count; ++i)
        for (size_t row = 0; curve_points(entries, count, i) == longest && row <= entries[i].result.row_count; ++row)
            send_curve(gnuplot, entries, count, i, row);
}

/* ---- engines side by side ------------------------------------------------------------------------------------ */

/* Whether an entry gets a group of bars: it has several engines, and of those that differ from it in size alone it is
 * the largest. */
static bool has_bars(const bench_entry *entries, size_t count, size_t index)
{
    for (size_t i = 0; i < count; ++i)
        if (in_curve(&entries[i], &entries[index]) && entries[i].what.shapes.params > entries[index].what.shapes.params)
            return false;
    return entries[index].result.row_count > 1;
}

static size_t count_bars(const bench_entry *entries, size_t count)
{
    size_t bars = 0;
    for (size_t i = 0; i < count; ++i)
        bars += has_bars(entries, count, i);
    return bars;
}

/* The bars of an engine, by the place of its row: the same in all entries that have it. */
static void send_bars(FILE *gnuplot, const bench_entry *entries, size_t count, size_t row)
{
    for (size_t i = 0; i < count; ++i) {
        const bench_entry *entry = &entries[i];
        if (has_bars(entries, count, i) && row < entry->result.row_count)
            fprintf(gnuplot, "\"%s %s\" %.9g\n", entry->what.rule, entry->what.shapes.name,
                    entry->result.rows[row].roof_fraction.middle);
    }
    fputs("e\n", gnuplot);
}

static void draw_bars(FILE *gnuplot, const bench_entry *entries, size_t count)
{
    size_t engines = 0;
    const measure_result *widest = NULL;
    for (size_t i = 0; i < count; ++i)
        if (has_bars(entries, count, i) && entries[i].result.row_count > engines) {
            widest = &entries[i].result;
            engines = widest->row_count;
        }
    fputs("unset logscale x\n"
          "unset xlabel\n"
          "set format x\n"
          "set xtics rotate by -30\n"
          "set ylabel 'part of the roof'\n"
          "set style data histograms\n"
          "set style fill solid\n"
          "set boxwidth 0.9\n"
          "set yrange [0:]\n"
          "set key outside right top\n"
          "plot 1 with lines dashtype 2 linecolor 'gray' title 'roof'",
          gnuplot);
    for (size_t row = 0; row < engines; ++row)
        fprintf(gnuplot, ", '-' using 2:xtic(1) linetype %zu title '%s'", row + 1, widest->rows[row].engine);
    fputc('\n', gnuplot);
    for (size_t row = 0; row < engines; ++row)
        send_bars(gnuplot, entries, count, row);
}

bool bench_plot(const char *command, const char *path, const bench_entry *entries, size_t count)
{
    const bool bars = count_bars(entries, count) > 0, curves = longest_curve(entries, count) > 1 || !bars;
    FILE *gnuplot = gnuplot_open(command, path, 1000, bars && curves ? 900 : 500);
    if (!gnuplot)
        return false;
    if (bars && curves)
        fputs("set multiplot layout 2, 1\n", gnuplot);
    if (curves)
        draw_curves(gnuplot, entries, count);
    if (bars)
        draw_bars(gnuplot, entries, count);
    return gnuplot_close(command, gnuplot, path);
}
