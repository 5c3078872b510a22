/* The plot of the command bench: curves over sizes, and bars for the engines side by side. */
#include "program/gnuplot.h"
#include "program/options.h"
#include "time/bench_report.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char caption[] =
    "error bars: the middle half of the samples;  !  another run might well give another median";

static const char *engine_name(const bench_entry *entry, size_t row)
{
    return entry->result.rows[row].engine;
}

/* Writes what is timed as the table has it. */
static void write_formats(FILE *script, const bench_entry *entry)
{
    const measure_case *what = &entry->what;
    fprintf(script, "%s %s/%s/%s", what->rule, fopt_format_name(what->param), fopt_format_name(what->grad),
            bench_state_name(entry));
}

/* Tells whether the two differ in their size alone. */
static bool in_curve(const bench_entry *entry, const bench_entry *first)
{
    const measure_case *a = &entry->what, *b = &first->what;
    return strcmp(a->rule, b->rule) == 0 && strcmp(a->shapes.name, b->shapes.name) == 0 && a->param == b->param &&
           a->grad == b->grad && a->state == b->state;
}

/* ---- throughput by size -------------------------------------------------------------------------------------- */

/* A curve: one engine over all sizes of a case, or, for the row after its last, the roof. */
typedef struct curve {
    const bench_entry *first;
    size_t row;
    size_t colour; /* from 0; what differs in more than the state's format has its own */
} curve;

typedef struct curves {
    curve *items;
    size_t count;
} curves;

/* Counts the points of the curve that an entry begins; 0 if it belongs to another one. */
static size_t curve_points(const bench_entry *entries, size_t count, size_t index)
{
    size_t points = 0;
    for (size_t i = 0; i < count; i++) {
        if (!in_curve(&entries[i], &entries[index]))
            continue;
        if (i < index)
            return 0;
        points++;
    }
    return points;
}

static size_t longest_curve(const bench_entry *entries, size_t count)
{
    size_t longest = 0;
    for (size_t i = 0; i < count; i++)
        longest = curve_points(entries, count, i) > longest ? curve_points(entries, count, i) : longest;
    return longest;
}

static bool is_roof(const curve *c)
{
    return c->row == c->first->result.row_count;
}

/* Tells whether two rows differ in size and state format at most: those have dash patterns. */
static bool same_colour(const curve *a, const curve *b)
{
    const measure_case *x = &a->first->what, *y = &b->first->what;
    return strcmp(x->rule, y->rule) == 0 && x->param == y->param && x->grad == y->grad &&
           strcmp(engine_name(a->first, a->row), engine_name(b->first, b->row)) == 0;
}

/* Adds a curve, in the colour of those like it, or in the next one. */
static void add_curve(curves *all, const bench_entry *first, size_t row)
{
    curve *made = &all->items[all->count++];
    *made = (curve){.first = first, .row = row};
    if (is_roof(made))
        return;
    for (const curve *other = all->items; other < made; other++) {
        if (is_roof(other))
            continue;
        if (same_colour(other, made)) {
            made->colour = other->colour;
            return;
        }
        made->colour = other->colour >= made->colour ? other->colour + 1 : made->colour;
    }
}

/* Lists the curves of what was timed in the most sizes: the rest would only hide that. */
static bool list_curves(const bench_entry *entries, size_t count, curves *all)
{
    const size_t longest = longest_curve(entries, count);
    *all = (curves){.items = calloc(count * (MEASURE_ENGINES + 1), sizeof *all->items)};
    for (size_t i = 0; i < count && all->items; i++)
        for (size_t row = 0; curve_points(entries, count, i) == longest && row <= entries[i].result.row_count; row++)
            add_curve(all, &entries[i], row);
    return all->items;
}

/* Returns the symbol for the formats of parameters and gradients. */
static int point_type(const measure_case *what)
{
    static const int types[3][3] = {{7, 5, 9}, {11, 13, 15}, {4, 6, 8}};
    return what->param < 3 && what->grad < 3 ? types[what->param][what->grad] : 1;
}

static void name_curve(FILE *script, const curve *c)
{
    const measure_case *what = &c->first->what;
    if (is_roof(c))
        fprintf(script, " '-' with linespoints linewidth 1.5 linecolor 'gray' dashtype 3 pointtype %d pointsize 0.4",
                point_type(what));
    else
        fprintf(script, " '-' with yerrorlines linewidth 1.5 linetype %zu dashtype %d pointtype %d pointsize 0.5",
                c->colour % GNUPLOT_COLOURS + 1, gnuplot_dash(what->state), point_type(what));
    fputs(" title '", script);
    write_formats(script, c->first);
    fprintf(script, ": %s' noenhanced", is_roof(c) ? "roof" : engine_name(c->first, c->row));
    if (!is_roof(c))
        fputs(", '-' with labels offset 0.9,0.5 notitle", script);
}

/* Returns the GB/s where a parameter takes so long. */
static double throughput(const bench_entry *entry, double ns_per_param)
{
    return entry->result.bytes_per_param / ns_per_param;
}

static void send_curve(FILE *script, const bench_entry *entries, size_t count, const curve *c)
{
    for (size_t i = 0; i < count; i++) {
        const bench_entry *entry = &entries[i];
        if (!in_curve(entry, c->first))
            continue;
        if (is_roof(c)) {
            fprintf(script, "%zu %.9g\n", entry->what.shapes.params, entry->result.stream_gb_per_s);
        } else {
            const quartiles ns = entry->result.rows[c->row].ns_per_param;
            fprintf(script, "%zu %.9g %.9g %.9g\n", entry->what.shapes.params, throughput(entry, ns.middle),
                    throughput(entry, ns.high), throughput(entry, ns.low));
        }
    }
    fputs("e\n", script);
}

/* Marks what the table marks. Where it marks nothing, a blank keeps gnuplot from missing the data. */
static void send_marks(FILE *script, const bench_entry *entries, size_t count, const curve *c)
{
    for (size_t i = 0; i < count; i++) {
        const bench_entry *entry = &entries[i];
        if (!in_curve(entry, c->first))
            continue;
        const measure_row *row = &entry->result.rows[c->row];
        fprintf(script, "%zu %.9g \"%s\"\n", entry->what.shapes.params, throughput(entry, row->ns_per_param.middle),
                row->wide ? "!" : " ");
    }
    fputs("e\n", script);
}

/* Returns the largest median. The scale ends above it, not above what outliers reach. */
static double most_throughput(const bench_entry *entries, size_t count, const curves *all)
{
    double most = 0;
    for (const curve *c = all->items; c < all->items + all->count; c++)
        for (const bench_entry *entry = entries; entry < entries + count; entry++)
            if (in_curve(entry, c->first))
                most = fmax(most, is_roof(c) ? entry->result.stream_gb_per_s
                                             : throughput(entry, entry->result.rows[c->row].ns_per_param.middle));
    return most;
}

/* Sets a range that is wider than the sizes are: what lies on its edge has no marks. */
static void write_sizes(FILE *script, const bench_entry *entries, size_t count, const curves *all)
{
    double low = INFINITY, high = 0;
    for (size_t i = 0; i < count; i++)
        for (const curve *c = all->items; c < all->items + all->count; c++)
            if (in_curve(&entries[i], c->first)) {
                low = fmin(low, (double)entries[i].what.shapes.params);
                high = fmax(high, (double)entries[i].what.shapes.params);
            }
    const double margin = pow(high / low, 0.04);
    fprintf(script, "set xrange [%.9g:%.9g]\n", low / margin, high * margin);
}

static void draw_curves(FILE *script, const bench_entry *entries, size_t count, const curves *all)
{
    fprintf(script,
            "set title 'Throughput of an optimizer step by size' noenhanced\n"
            "set xlabel \"parameters\\n%s\"\n"
            "set ylabel 'GB/s'\n"
            "set logscale x 2\n"
            "set format x '2^{%%L}'\n"
            "set yrange [0:%.9g]\n"
            "set grid ytics linecolor 'gray80' linewidth 0.5\n"
            "set key outside right top\n",
            caption, 1.1 * most_throughput(entries, count, all));
    write_sizes(script, entries, count, all);
    fputs("plot", script);
    for (const curve *c = all->items; c < all->items + all->count; c++) {
        fputs(c == all->items ? "" : ",", script);
        name_curve(script, c);
    }
    fputc('\n', script);
    for (const curve *c = all->items; c < all->items + all->count; c++) {
        send_curve(script, entries, count, c);
        if (!is_roof(c))
            send_marks(script, entries, count, c);
    }
}

/* ---- engines side by side ------------------------------------------------------------------------------------ */

/* Tells whether an entry gets a group of bars: of those that differ from it in size alone it is the largest. */
static bool has_bars(const bench_entry *entries, size_t count, size_t index)
{
    for (size_t i = 0; i < count; i++)
        if (in_curve(&entries[i], &entries[index]) && entries[i].what.shapes.params > entries[index].what.shapes.params)
            return false;
    return true;
}

static size_t count_groups(const bench_entry *entries, size_t count)
{
    size_t groups = 0;
    for (size_t i = 0; i < count; i++)
        groups += has_bars(entries, count, i);
    return groups;
}

/* Returns the entry with the most engines. They come in the same order in all that have them. */
static const bench_entry *widest_entry(const bench_entry *entries, size_t count)
{
    const bench_entry *widest = entries;
    for (size_t i = 1; i < count; i++)
        widest = entries[i].result.row_count > widest->result.row_count ? &entries[i] : widest;
    return widest;
}

/* Sends the bars of the engine in this row, or the marks over them. A group is one unit wide. */
static void send_bars(FILE *script, const bench_entry *entries, size_t count, size_t row, bool marks)
{
    size_t group = 0;
    for (size_t i = 0; i < count; i++) {
        const measure_result *result = &entries[i].result;
        if (!has_bars(entries, count, i))
            continue;
        const double place = (double)group++ + 0.27 * ((double)row - 0.5 * (double)(result->row_count - 1));
        if (row >= result->row_count)
            continue;
        const measure_row *r = &result->rows[row];
        const quartiles part = r->roof_fraction;
        if (marks)
            fprintf(script, "%.4f %.9g \"%s\"\n", place, part.middle, r->wide ? "!" : " ");
        else
            fprintf(script, "%.4f %.9g %.9g %.9g 0.24\n", place, part.middle, part.low, part.high);
    }
    fputs("e\n", script);
}

/* Returns the largest median, or the roof. */
static double most_part(const bench_entry *entries, size_t count)
{
    double most = 1;
    for (size_t i = 0; i < count; i++)
        for (size_t row = 0; row < entries[i].result.row_count && has_bars(entries, count, i); row++)
            most = fmax(most, entries[i].result.rows[row].roof_fraction.middle);
    return most;
}

/* Writes the names of the groups below them. */
static void name_groups(FILE *script, const bench_entry *entries, size_t count)
{
    size_t group = 0;
    fputs("set xtics rotate by -35 noenhanced font ',10' (", script);
    for (size_t i = 0; i < count; i++) {
        if (!has_bars(entries, count, i))
            continue;
        fputs(group > 0 ? ", '" : "'", script);
        write_formats(script, &entries[i]);
        fprintf(script, " %s' %zu", entries[i].what.shapes.name, group++);
    }
    fputs(")\n", script);
}

static void draw_bars(FILE *script, const bench_entry *entries, size_t count)
{
    const bench_entry *widest = widest_entry(entries, count);
    const size_t groups = count_groups(entries, count);
    fprintf(script,
            "set title 'The step as a part of the roof, an in-place stream through the same memory' noenhanced\n"
            "unset logscale x\n"
            "set xlabel \"%s\" offset 0,2\n"
            "set ylabel 'part of the roof'\n"
            "set format x\n"
            "set style fill solid noborder\n"
            "set xrange [-0.6:%.1f]\n"
            "set yrange [0:%.9g]\n"
            "set grid ytics linecolor 'gray80' linewidth 0.5\n"
            "set key outside right top\n",
            caption, (double)groups - 0.4, 1.2 * most_part(entries, count));
    name_groups(script, entries, count);
    fputs("plot 1 with lines dashtype 2 linecolor 'gray' title 'roof'", script);
    for (size_t row = 0; row < widest->result.row_count; row++)
        fprintf(
            script,
            ", '-' using 1:2:5 with boxes linetype %zu title '%s' noenhanced, '' using 1:3:(0):($4-$3) with vectors "
            "nohead linewidth 1.5 linecolor 'gray30' notitle, '' with labels offset 0.9,0.5 notitle",
            row + 1, engine_name(widest, row));
    fputc('\n', script);
    for (size_t row = 0; row < widest->result.row_count; row++)
        for (int layer = 0; layer < 3; layer++)
            send_bars(script, entries, count, row, layer == 2);
}

/* ---- the plot ------------------------------------------------------------------------------------------------ */

bool bench_plot(const char *command, const char *path, fopt_device device, const bench_entry *entries, size_t count)
{
    const bool has_curves = longest_curve(entries, count) > 1;
    const bool bars =
        !has_curves || count_groups(entries, count) > 1 || widest_entry(entries, count)->result.row_count > 1;
    curves all;
    FILE *script = NULL;
    if (!list_curves(entries, count, &all)) {
        complain(command, "out of memory");
    } else {
        const int panel =
            has_curves && all.count > 20 ? 100 + 20 * (int)all.count : 500; /* the key has a line a curve */
        script = gnuplot_open(command, 1100, bars && has_curves ? 2 * panel : panel);
    }
    if (script) {
        fprintf(script, "set multiplot layout %d, 1 title ", bars && has_curves ? 2 : 1);
        gnuplot_quote_machine(script, device);
        fputs(" noenhanced\n", script);
        if (has_curves)
            draw_curves(script, entries, count, &all);
        if (bars)
            draw_bars(script, entries, count);
        fputs("unset multiplot\n", script);
    }
    free(all.items);
    return script && gnuplot_close(command, script, path);
}
