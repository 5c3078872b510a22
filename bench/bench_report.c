#include "bench_report.h"

#include "compiler.h"
#include "gnuplot.h"
#include "options.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#ifdef FUSEDOPT_HAVE_CBLAS
#include <cblas.h>
#endif

#ifndef FUSEDOPT_COMMIT /* not built from a repository */
#define FUSEDOPT_COMMIT "unknown"
#endif

/* ---- the table ----------------------------------------------------------------------------------------------- */

static bool keeps_state(const bench_entry *entry)
{
    return entry->what.rule && strcmp(entry->what.rule, "sgd") != 0;
}

static const char *state_name(const bench_entry *entry)
{
    return keeps_state(entry) ? fopt_format_name(entry->what.state) : "none";
}

static bool is_wide(const measure_row *row)
{
    return quartiles_spread(row->ns_per_param) > MEASURE_WIDE || quartiles_spread(row->roof_fraction) > MEASURE_WIDE;
}

void bench_table_head(void)
{
    printf("%-9s %-15s %-9s %11s %7s  %-9s %9s %7s %6s %11s %6s %11s %7s %9s\n", "rule", "formats", "shapes", "params",
           "tensors", "engine", "ns/param", "GB/s", "roof", "spread ", "best", "host us", "kernels", "ns/tensor");
}

void bench_table_rows(const bench_entry *entry)
{
    const measure_case *what = &entry->what;
    char formats[32];
    snprintf(formats, sizeof formats, "%s/%s/%s", fopt_format_name(what->param), fopt_format_name(what->grad),
             state_name(entry));
    for (size_t i = 0; i < entry->result.row_count; ++i) {
        const measure_row *row = &entry->result.rows[i];
        printf("%-9s %-15s %-9s %11zu %7zu  %-9s %9.4f %7.2f %6.3f %5.3f-%5.3f%s %5.3f %11.1f %7d", what->rule, formats,
               what->shapes.name, what->shapes.params, what->shapes.tensors, row->engine, row->ns_per_param.middle,
               row->gb_per_s, row->roof_fraction.middle, row->roof_fraction.low, row->roof_fraction.high,
               is_wide(row) ? "!" : " ", row->roof_best, row->host_us, row->launches);
        if (!isnan(row->tensor_ns))
            printf(" %9.1f", row->tensor_ns);
        putchar('\n');
    }
    fflush(stdout); /* the next rows may take a while */
}

void bench_table_foot(const bench_entry *entries, size_t count)
{
    size_t wide = 0;
    double copy = 0, stream = 0;
    for (size_t i = 0; i < count; ++i) {
        const measure_result *result = &entries[i].result;
        copy = fmax(copy, result->copy_gb_per_s);
        stream = fmax(stream, result->stream_gb_per_s);
        for (size_t k = 0; k < result->row_count; ++k)
            wide += is_wide(&result->rows[k]);
    }
    printf(
        "\n"
        "GB/s  bytes that the step must read and write, by the median time\n"
        "roof  the part of what a[i] = a[i] * s + b[i] reaches in arrays of the same total size (at most %.2f GB/s;\n"
        "      a copy %.2f GB/s), timed in turns with the step; spread: its middle half; best: the\n"
        "      fastest step by the fastest such loop\n"
        "ns/tensor  what a tensor takes beyond its share of one flat tensor's step by fusedopt\n",
        stream, copy);
    if (wide > 0)
        printf("!     %zu of the rows are spread over more than %.0f %% of their median: this machine was too busy\n"
               "      for them\n",
               wide, 100 * MEASURE_WIDE);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------- */

static json_t *describe_device(fopt_device device)
{
    fopt_device_info info = {.size = sizeof info};
    if (fopt_device_query(device, &info) != FOPT_OK)
        return NULL;
    return json_pack("{s:s, s:i, s:s, s:s, s:i}", "kind", device.kind == FOPT_CPU ? "cpu" : "cuda", "index",
                     device.index, "name", info.name, "isa", fopt_isa_name(info.isa), "threads", info.threads);
}

static json_t *describe_versions(void)
{
#ifdef FUSEDOPT_HAVE_CBLAS
    const char *blas = openblas_get_config();
#else
    const char *blas = "none";
#endif
    return json_pack("{s:s, s:s, s:s}", "fusedopt", fopt_version_string(), "blas", blas, "commit", FUSEDOPT_COMMIT);
}

static json_t *describe_quartiles(quartiles q)
{
    return json_pack("[f, f, f]", q.low, q.middle, q.high);
}

static json_t *describe_row(const bench_entry *entry, const measure_row *row)
{
    const measure_case *what = &entry->what;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:i, s:f, s:I, s:o, s:o, s:b, s:f, s:f}",
        "engine", row->engine, "rule", what->rule, "param_dtype", fopt_format_name(what->param), "grad_dtype",
        fopt_format_name(what->grad), "state_format", state_name(entry), "shape_set", what->shapes.name, "params",
        (json_int_t)what->shapes.params, "tensors", (json_int_t)what->shapes.tensors, "ns_per_param",
        row->ns_per_param.middle, "gb_per_s", row->gb_per_s, "roof_fraction", row->roof_fraction.middle, "host_us",
        row->host_us, "launches", row->launches, "spread", quartiles_spread(row->ns_per_param), "samples",
        (json_int_t)entry->result.samples, "ns_per_param_quartiles", describe_quartiles(row->ns_per_param),
        "roof_fraction_quartiles", describe_quartiles(row->roof_fraction), "wide", is_wide(row), "bytes_per_param",
        entry->result.bytes_per_param, "roof_fraction_best", row->roof_best);
    if (object && !isnan(row->tensor_ns))
        json_object_set_new(object, "ns_per_tensor", json_real(row->tensor_ns));
    return object;
}

static json_t *describe_roof(const bench_entry *entry)
{
    return json_pack("{s:I, s:f, s:f}", "bytes", (json_int_t)entry->result.total_bytes, "copy_gb_per_s",
                     entry->result.copy_gb_per_s, "stream_gb_per_s", entry->result.stream_gb_per_s);
}

bool bench_json(const char *command, const char *path, fopt_device device, const bench_entry *entries, size_t count)
{
    json_t *roofs = json_array(), *rows = json_array();
    int failed = 0;
    for (size_t i = 0; i < count; ++i) {
        failed |= json_array_append_new(roofs, describe_roof(&entries[i]));
        for (size_t k = 0; k < entries[i].result.row_count; ++k)
            failed |= json_array_append_new(rows, describe_row(&entries[i], &entries[i].result.rows[k]));
    }
    struct utsname machine = {0};
    uname(&machine);
    json_t *root =
        json_pack("{s:{s:s, s:s, s:s}, s:o, s:s, s:o, s:s, s:o, s:o}", "machine", "system", machine.sysname, "release",
                  machine.release, "architecture", machine.machine, "device", describe_device(device), "compiler",
                  COMPILER, "versions", describe_versions(), "commit", FUSEDOPT_COMMIT, "roofs", roofs, "rows", rows);
    if (failed || !root)
        complain(command, "%s: out of memory", path);
    else if ((failed = json_dump_file(root, path, JSON_INDENT(2))))
        complain(command, "cannot write %s", path);
    json_decref(root);
    return root && !failed;
}

/* ---- the plot ------------------------------------------------------------------------------------------------ */

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
                fopt_format_name(what->param), fopt_format_name(what->grad), state_name(entry), what->shapes.name,
                roof ? "roof" : entry->result.rows[row].engine);
    }
}

bool bench_plot(const char *command, const char *path, const bench_entry *entries, size_t count)
{
    FILE *gnuplot = gnuplot_open(command, path, 1000, 600);
    if (!gnuplot)
        return false;
    fputs("set xlabel 'parameters'\n"
          "set ylabel 'GB/s'\n"
          "set logscale x 2\n"
          "set format x '2^{%L}'\n"
          "set yrange [0:]\n"
          "set key outside right top\n"
          "plot",
          gnuplot);
    /* What was timed in one size alone would only hide the curves. */
    size_t longest = 0, named = 0;
    for (size_t i = 0; i < count; ++i)
        longest = curve_points(entries, count, i) > longest ? curve_points(entries, count, i) : longest;
    for (size_t i = 0; i < count; ++i)
        if (curve_points(entries, count, i) == longest)
            name_curves(gnuplot, &entries[i], named++ == 0);
    fputc('\n', gnuplot);
    for (size_t i = 0; i < count; ++i)
        for (size_t row = 0; curve_points(entries, count, i) == longest && row <= entries[i].result.row_count; ++row)
            send_curve(gnuplot, entries, count, i, row);
    return gnuplot_close(command, gnuplot, path);
}
